// Swagger UI for this server's own description. All addresses are relative: any route prefix works.

globalThis.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#description",
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null, // the default asks a validator on another server
});

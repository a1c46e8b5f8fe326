// Swagger UI on this server's own description. Everything is relative, so a route prefix is kept.

globalThis.SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#description",
  deepLinking: true,
  displayRequestDuration: true,
  defaultModelsExpandDepth: 0,
  validatorUrl: null, // would ask a server elsewhere
});

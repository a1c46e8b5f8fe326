// The calls of the HTTP API. Addresses are relative to the page, so a route prefix is kept.

const BASE = new URL(".", document.baseURI);
let apiKey = "";

/** An error answer: `code`, `message`, `details`, `requestId`; `status` 0 if the server is unreachable. */
export class ApiError extends Error {
  constructor(status, body) {
    super(body.error.message);
    Object.assign(this, { status, requestId: body.request_id, ...body.error });
  }
}

export function useKey(key) {
  apiKey = key;
}

export function hasKey() {
  return apiKey !== "";
}

export function address(path) {
  return new URL(path, BASE).href;
}

export function models() {
  return call("v1/models");
}

/** Finds every face of a photo. */
export function detect(file, signal) {
  return call("v1/detect", { image: file }, signal);
}

export function compare(source, target, options, signal) {
  return call("v1/compare", { source, target, ...options }, signal);
}

export async function example(name) {
  const answer = await send(`examples/${name}`, {});
  if (!answer.ok) throw ownError("no_example");
  return new File([await answer.blob()], name, { type: "image/jpeg" });
}

/** An error that the page finds itself. */
export function ownError(code) {
  return new ApiError(0, { error: { code, message: "" }, request_id: "" });
}

/** Calls a route with fields as a form, or as JSON. */
export function request(method, path, { form: fields, json } = {}) {
  if (fields) return answerTo(path, { method, body: form(fields) });
  if (!json) return answerTo(path, { method });
  const headers = { "content-type": "application/json" };
  return answerTo(path, { method, body: JSON.stringify(json), headers });
}

function call(path, fields, signal) {
  return answerTo(path, fields ? { method: "POST", body: form(fields), signal } : {});
}

async function answerTo(path, request) {
  const key = apiKey ? { authorization: `Bearer ${apiKey}` } : {};
  const answer = await send(path, { ...request, headers: { ...request.headers, ...key } });
  if (!answer.ok) throw await errorOf(answer);
  return answer.json();
}

async function send(path, request) {
  try {
    return await fetch(address(path), request);
  } catch (error) {
    throw error.name === "AbortError" ? error : ownError("unreachable");
  }
}

async function errorOf(answer) {
  const id = answer.headers.get("x-request-id") ?? "";
  const other = { error: { code: "other", message: answer.statusText }, request_id: id };
  const body = await answer.json().catch(() => other);
  return new ApiError(answer.status, body?.error?.code ? body : other);
}

function form(fields) {
  const data = new FormData();
  for (const [name, value] of Object.entries(fields)) data.append(name, value);
  return data;
}

// The shown comparison's API call as a command: curl for the terminal, and Python.

import { address } from "./api.js";

/** call: { path, files: {field: name}, fields: {name: value} }; withKey: an API key is needed. */
export function curl({ path, files, fields }, withKey) {
  const parts = [`curl -s ${quoted(address(path))}`];
  if (withKey) parts.push('-H "Authorization: Bearer $FACEGRAPH_KEY"');
  for (const [field, name] of Object.entries(files)) {
    parts.push(`-F ${quoted(`${field}=@"${name.replace(/["\\]/g, "\\$&")}"`)}`);
  }
  for (const [field, value] of Object.entries(fields)) parts.push(`-F ${quoted(`${field}=${value}`)}`);
  return parts.join(" \\\n  ");
}

/** A program that prints the matches. */
export function python({ path, files, fields }, withKey) {
  const imports = ["import httpx"];
  if (withKey) imports.unshift("import os", "");
  const key = 'headers = {"Authorization": f"Bearer {os.environ[\'FACEGRAPH_KEY\']}"}';
  const opened = Object.entries(files).map(
    ([field, name]) => `    ${JSON.stringify(field)}: open(${JSON.stringify(name)}, "rb"),`,
  );
  return [
    ...imports,
    "",
    ...(withKey ? [key] : []),
    "photos = {",
    ...opened,
    "}",
    "answer = httpx.post(",
    ...argumentLines(path, "files=photos", fields, withKey),
    ")",
    "answer.raise_for_status()",
    'for match in answer.json()["matches"]:',
    '    print(round(match["similarity"], 3), match["decision"], match["face"]["box"])',
  ].join("\n");
}

function dict(fields) {
  const parts = Object.entries(fields).map(
    ([name, value]) => `${JSON.stringify(name)}: ${JSON.stringify(value)}`,
  );
  return `{${parts.join(", ")}}`;
}

function argumentLines(path, files, fields, withKey) {
  const data = Object.keys(fields).length ? [`data=${dict(fields)}`] : [];
  const headers = withKey ? ["headers=headers"] : [];
  const parts = [JSON.stringify(address(path)), files, ...data, ...headers, "timeout=60"];
  return parts.map((part) => `    ${part},`);
}

/** Quotes a text for a POSIX shell. */
function quoted(text) {
  return /^[\w./:@=,-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`;
}

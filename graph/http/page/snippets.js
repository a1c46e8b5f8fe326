// The shown comparison's API calls as commands: curl for the terminal, and Python.

import { address } from "./api.js";

/** calls: [{ path, files: {field: name}, fields: {name: value} }]; withKey: an API key is needed. */
export function curl(calls, withKey) {
  return calls.map((call) => curlOf(call, withKey)).join("\n\n");
}

/** A program of one call that prints its matches, or of two that embed two photos and print the cosines. */
export function python(calls, withKey) {
  const imports = ["import httpx"];
  if (withKey) imports.unshift("import os", "");
  const key = 'headers = {"Authorization": f"Bearer {os.environ[\'FACEGRAPH_KEY\']}"}';
  const lines = [...imports, "", ...(withKey ? [key] : [])];
  return [...lines, ...(calls.length === 1 ? one(calls[0], withKey) : two(calls, withKey))].join("\n");
}

function curlOf({ path, files, fields }, withKey) {
  const parts = [`curl -s ${quoted(address(path))}`];
  if (withKey) parts.push('-H "Authorization: Bearer $FACEGRAPH_KEY"');
  for (const [field, name] of Object.entries(files)) {
    parts.push(`-F ${quoted(`${field}=@"${name.replace(/["\\]/g, "\\$&")}"`)}`);
  }
  for (const [field, value] of Object.entries(fields)) parts.push(`-F ${quoted(`${field}=${value}`)}`);
  return parts.join(" \\\n  ");
}

function one({ path, files, fields }, withKey) {
  const opened = Object.entries(files).map(
    ([field, name]) => `    ${JSON.stringify(field)}: open(${JSON.stringify(name)}, "rb"),`,
  );
  return [
    "photos = {",
    ...opened,
    "}",
    "answer = httpx.post(",
    ...argumentLines(path, "files=photos", fields, withKey),
    ")",
    "answer.raise_for_status()",
    "for match in answer.json()[\"matches\"]:",
    '    print(round(match["similarity"], 3), match["decision"], match["face"]["box"])',
  ];
}

function two([source, target], withKey) {
  const { path, fields, face } = source;
  return [
    "def faces(name):",
    '    with open(name, "rb") as photo:',
    "        answer = httpx.post(",
    ...argumentLines(path, 'files={"image": photo}', fields, withKey).map((line) => `        ${line}`),
    "        )",
    "    answer.raise_for_status()",
    '    return answer.json()["faces"]',
    "",
    `source = faces(${JSON.stringify(source.files.image)})[${face}]`,
    `for target in faces(${JSON.stringify(target.files.image)}):`,
    '    for recognizer, part in source["embeddings"].items():',
    '        other = target["embeddings"][recognizer]["embedding"]',
    '        pairs = zip(part["embedding"], other)',
    "        cosine = sum(a * b for a, b in pairs)",
    '        print(recognizer, round(cosine, 3), target["box"])',
  ];
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

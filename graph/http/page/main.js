// The demo page: two photos, their faces, and the faces' similarity.

import { compare, detect, example, hasKey, models, useKey } from "./api.js";
import { byId } from "./dom.js";
import { setUpLanguage, t } from "./language.js";
import { Options } from "./options.js";
import { applyProblem, clearProblem, showNotice, showProblem } from "./problem.js";
import { Result } from "./result.js";
import { Slot, takeDropsAndPastes } from "./slot.js";
import { setUpTheme } from "./theme.js";

const events = { changed: photoChanged, chosen: compareFace };
const slots = [new Slot("source", "photo1", events), new Slot("target", "photo2", events)];
const options = new Options(compareLargest);
const result = new Result();
let running = new AbortController();
let again = loadModels; // the call to repeat with a new API key

/** Does the work and shows its progress and errors. A new attempt aborts the one before. */
async function attempt(work, retry) {
  running.abort();
  const mine = (running = new AbortController());
  clearProblem();
  busy(true);
  try {
    await work(mine.signal);
  } catch (error) {
    if (mine.signal.aborted || error.name === "AbortError") return;
    showError(error, retry);
  } finally {
    if (running === mine) busy(false);
  }
}

function busy(isBusy) {
  byId("main").setAttribute("aria-busy", String(isBusy));
  byId("compare").textContent = t(isBusy ? "comparing" : "compare");
  if (isBusy) byId("status").textContent = t("comparing");
}

async function loadModels() {
  try {
    options.show(await models());
    clearProblem();
  } catch (error) {
    showError(error, loadModels);
  }
}

function photoChanged() {
  result.clear();
  byId("status").textContent = "";
  return attempt(findAndCompare, photoChanged);
}

/** Finds the faces of every new photo; with two photos, compares them too. */
async function findAndCompare(signal) {
  await Promise.all(slots.filter((slot) => slot.file && !slot.found).map((slot) => find(slot, signal)));
  const faces = slots.map((slot) => slot.found && `${t(slot.title)}: ${t("facesFound", slot.found.faces.length)}`);
  byId("status").textContent = faces.filter(Boolean).join("; ");
  if (slots.every((slot) => slot.file)) await comparePhotos(signal);
}

async function find(slot, signal) {
  const { file } = slot;
  try {
    const found = await detect(file, signal);
    if (slot.file === file) slot.show(found);
  } catch (error) {
    throw Object.assign(error, { slot: slot.name });
  }
}

/** Compares by the button, or after a change of the options. */
function compareLargest() {
  if (slots.some((slot) => !slot.file)) return;
  return attempt(findAndCompare, compareLargest);
}

async function comparePhotos(signal) {
  show(await compared(...slots, options.fields, signal));
}

/** Compares one face of a photo with every face of the other one. */
function compareFace(slot, index) {
  const other = slots.find((candidate) => candidate !== slot);
  if (!other.file || !other.found) return showNotice(t("needPhotos"));
  const fields = { ...options.fields, faces: "all", source_face: index };
  return attempt(
    async (signal) => show(await compared(slot, other, fields, signal)),
    () => compareFace(slot, index),
  );
}

/** Calls /v1/compare; `source` and `target` are slots, in whichever order. */
async function compared(source, target, fields, signal) {
  const names = { source: source.name, target: target.name };
  try {
    const answer = await compare(source.file, target.file, fields, signal);
    for (const span of answer.timings) span.image = names[span.image] ?? null;
    const files = { source: source.file.name, target: target.file.name };
    return { answer, source, target, call: { path: "v1/compare", files, fields } };
  } catch (error) {
    throw Object.assign(error, { slot: names[error.details?.field] });
  }
}

function show(shown) {
  result.show(shown);
  byId("status").textContent = result.announcement;
}

/** Asks for a key on `unauthorized`; shows any other error, and that one if a key was sent. */
function showError(error, retry) {
  if (error.code === "unauthorized") {
    again = retry;
    byId("access").hidden = false;
    byId("key").focus();
    if (!hasKey()) return;
  }
  showProblem(error, error.slot);
}

async function takeExamples(names) {
  try {
    const files = await Promise.all(names.map(example));
    await Promise.all(slots.map((slot, at) => slot.put(files[at])));
  } catch (error) {
    showProblem(error);
  }
}

function listen() {
  byId("options").addEventListener("submit", (event) => {
    event.preventDefault();
    if (slots.every((slot) => slot.file)) compareLargest();
    else showNotice(t("needPhotos"));
  });
  byId("access").addEventListener("submit", async (event) => {
    event.preventDefault();
    useKey(byId("key").value.trim());
    byId("access").hidden = true;
    if (again !== loadModels) await loadModels();
    if (byId("access").hidden) await again();
  });
  for (const button of document.querySelectorAll("[data-pair]")) {
    button.addEventListener("click", () => takeExamples(button.dataset.pair.split(" ")));
  }
}

byId("slots").append(...slots.map((slot) => slot.root));
const applyTheme = setUpTheme(byId("theme"));
setUpLanguage(byId("language"), () => {
  applyTheme();
  for (const slot of slots) slot.apply();
  for (const slot of slots) if (slot.found) slot.show(slot.found);
  options.apply();
  result.apply();
  applyProblem();
});
applyTheme();
takeDropsAndPastes(slots);
listen();
loadModels();

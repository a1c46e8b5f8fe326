// The demo page: two photos, their faces, and the faces' similarity.

import { compare, detect, example, hasKey, models, ownError, useKey } from "./api.js";
import { byId } from "./dom.js";
import { takeDropsAndPastes } from "./drops.js";
import { setUpLanguage, t } from "./language.js";
import { Options } from "./options.js";
import { Problem } from "./problem.js";
import { Result } from "./result.js";
import { Slot } from "./slot.js";
import { setUpTheme } from "./theme.js";
import { showBusy, showPrompt, showWork } from "./verdict.js";
import { offerWebcam } from "./webcam.js";

const events = { emptied: photoTaken, filled: findFaces, chosen: chooseFace };
const slots = [new Slot("source", "photo1", events), new Slot("target", "photo2", events)];
const options = new Options(comparePhotos);
const result = new Result(options);
const problem = new Problem(byId("problem"));
let chosen = null; // the clicked face, { slot, index }; without one, the first photo's largest counts
let limits = { max_bytes: Infinity, max_pixels: Infinity }; // of a photo, until the server tells them
let comparing = new AbortController();
let asked = null; // the names of the examples asked for last

/** Voids the result when a slot's photo is taken out or is about to be another. */
function photoTaken(slot) {
  comparing.abort();
  if (chosen?.slot === slot) chosen = null;
  result.clear();
  problem.clear();
  say();
}

/** The code of the error with which the server would refuse a slot's photo, as far as is known. */
function refusalOf(slot) {
  if (!slot.isServed) return "unsupported_media_type";
  if (isKeyAsked()) return "unauthorized";
  return slot.exceeds(limits) ? "image_too_large" : null;
}

/** Finds the faces of a slot's photo; with those of two photos, compares them. */
async function findFaces(slot) {
  const refusal = refusalOf(slot);
  if (refusal) slot.fail(ownError(refusal));
  else slot.clearProblem();
  say();
  if (refusal) return;
  const signal = slot.newSearch();
  try {
    slot.show(await detect(slot.file, signal));
  } catch (error) {
    if (signal.aborted) return;
    askForKey(error);
    slot.fail(error, () => findFaces(slot));
  }
  await comparePhotos();
}

/** Compares the chosen face of a photo with the faces of the other, once both show faces. */
async function comparePhotos() {
  comparing.abort();
  problem.clear();
  if (isKeyAsked() || !slots.every((slot) => slot.hasFaces)) return say();
  const { signal } = (comparing = new AbortController());
  const source = chosen?.slot ?? slots[0];
  const target = other(source);
  const fields = chosen ? { ...options.fields, source_face: chosen.index } : options.fields;
  say();
  showBusy(true);
  try {
    const answer = await compare(source.file, target.file, fields, signal);
    show(source, target, fields, answer);
  } catch (error) {
    if (!signal.aborted) fail(error, { source, target }[error.details?.field]);
  } finally {
    if (!signal.aborted) showBusy(false);
  }
}

function show(source, target, fields, answer) {
  const names = { source: source.name, target: target.name };
  for (const span of answer.timings) span.image = names[span.image] ?? null;
  const files = { source: source.file.name, target: target.file.name };
  result.show({ answer, source, target, call: { path: "v1/compare", files, fields } });
  byId("status").textContent = result.announcement;
}

/** Shows a comparison's error: in the slot that it is about, else in place of the verdict. */
function fail(error, slot) {
  askForKey(error);
  result.clear();
  if (slot) slot.fail(error, () => findFaces(slot));
  else problem.show(error, comparePhotos);
  say();
}

function chooseFace(slot, index) {
  chosen = { slot, index };
  return comparePhotos();
}

/** Marks the chosen face; says in place of a verdict what is missing, or what the page does. */
function say() {
  const areReady = slots.every((slot) => slot.hasFaces);
  byId("options-part").hidden = !areReady;
  chosen?.slot.mark({ pressed: chosen.index });
  if (result.isShown) return;
  const empty = slots.filter(({ file }) => !file);
  const stuck = slots.find((slot) => slot.isStuck);
  if (problem.code) showPrompt(t("failed"));
  else if (stuck) showPrompt(t("stuck"), t("stuckHint", t(stuck.title)));
  else if (empty.length === slots.length) showPrompt(t("start"), t("startHint"));
  else if (empty.length) showPrompt(t("addOther", t(empty[0].title)), foundIn(other(empty[0])));
  else showWork(t(areReady ? "comparing" : "looking"));
}

function foundIn(slot) {
  if (!slot.found) return t("looking");
  return t("addOtherHint", t(slot.title), t("facesFound", slot.found.faces.length));
}

function other(slot) {
  return slots.find((candidate) => candidate !== slot);
}

function isKeyAsked() {
  return !byId("access").hidden;
}

function askForKey(error) {
  if (error.code !== "unauthorized") return;
  byId("access").hidden = false;
  byId("key").focus();
}

async function loadModels() {
  try {
    const served = await models();
    options.show(served);
    limits = served.photo_limits ?? limits;
    problem.clear();
  } catch (error) {
    askForKey(error);
    if (error.code !== "unauthorized" || hasKey()) problem.show(error, loadModels);
  }
}

async function useTypedKey(event) {
  event.preventDefault();
  useKey(byId("key").value.trim());
  byId("access").hidden = true;
  await loadModels();
  if (isKeyAsked()) return;
  const waiting = slots.filter((slot) => slot.isServed && !slot.found);
  if (waiting.length) await Promise.all(waiting.map(findFaces));
  else if (!result.isShown) await comparePhotos();
}

/** Puts a pair of the server's photos in, unless the visitor has put others in meanwhile. */
async function takeExamples(names) {
  asked = names;
  const before = slots.map(({ file }) => file);
  try {
    const files = await Promise.all(names.map(example));
    if (asked !== names || slots.some(({ file }, at) => file !== before[at])) return;
    await Promise.all(slots.map((slot, at) => slot.put(files[at])));
  } catch (error) {
    problem.show(error, () => takeExamples(names));
  }
}

for (const button of document.querySelectorAll("[data-pair]")) {
  button.addEventListener("click", () => takeExamples(button.dataset.pair.split(" ")));
}
byId("access").addEventListener("submit", useTypedKey);
byId("slots").append(...slots.map((slot) => slot.root));
const applyTheme = setUpTheme(byId("theme"));
setUpLanguage(byId("language"), () => {
  applyTheme();
  for (const part of [...slots, options, problem, result]) part.apply();
  say();
});
takeDropsAndPastes(slots);
offerWebcam(slots.map((slot) => slot.root.querySelector(".camera")));
say();
loadModels();

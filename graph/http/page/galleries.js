// The page of galleries: persons are enrolled, faces searched for.

import { request, useKey } from "./api.js";
import { drawChip } from "./chips.js";
import { byId, element, number, row } from "./dom.js";
import { setUpLanguage, t } from "./language.js";
import { decoded } from "./photo.js";
import { Problem } from "./problem.js";
import { setUpTheme } from "./theme.js";

const PAGE = 50; // persons that are listed at a time
const CANDIDATES = 3;
const DECISIONS = ["match", "uncertain", "no_match"]; // in the order in which faces are shown

const problem = new Problem(byId("problem"));
let galleries = [];
let persons = [];
let cursor = null;
let outcomes = [];
let found = null; // the last search's answer, with the photo's pixels

function path(...ids) {
  return ["v1/galleries", ...ids.map(encodeURIComponent)].join("/");
}

function chosen() {
  return galleries.find(({ id }) => id === byId("gallery").value);
}

/** Runs an action; shows its error, with a button that repeats it. */
async function attempt(action) {
  try {
    problem.clear();
    await action();
  } catch (error) {
    byId("status").textContent = "";
    problem.show(error, () => attempt(action));
    if (error.code !== "unauthorized") return;
    byId("access").hidden = false;
    byId("key").focus();
  }
}

async function load(wanted = byId("gallery").value) {
  ({ galleries } = await request("GET", path()));
  const options = galleries.map(({ id }) => element("option", { value: id }, id));
  byId("gallery").replaceChildren(...options);
  if (galleries.some(({ id }) => id === wanted)) byId("gallery").value = wanted;
  await loadPersons();
}

async function loadPersons() {
  persons = [];
  cursor = null;
  try {
    if (chosen()) await loadMore();
  } catch (error) {
    if (error.code !== "forbidden") throw error; // a key that may search, and not list persons
  }
  show();
}

async function loadMore() {
  const query = new URLSearchParams(cursor ? { limit: PAGE, cursor } : { limit: PAGE });
  const page = await request("GET", `${path(chosen().id, "persons")}?${query}`);
  persons.push(...page.persons);
  cursor = page.next_cursor;
}

async function create() {
  const id = byId("new-gallery").value;
  await request("PUT", path(id));
  byId("new-gallery").value = "";
  await load(id);
}

async function remove(ids, sentence) {
  if (!confirm(sentence)) return;
  const { purged } = await request("DELETE", path(...ids));
  byId("status").textContent = t(purged ? "deletedPurged" : "deletedLater", ids.at(-1));
  await load();
}

async function enrol(files) {
  if (!files.length || !byId("enrol").reportValidity()) return;
  const { id: gallery } = chosen();
  const id = byId("person").value;
  const name = byId("name").value || null;
  if (!persons.some((person) => person.id === id)) await addPerson(gallery, id, name);
  outcomes = [];
  for (const file of files) {
    const answer = await request("POST", path(gallery, "persons", id, "faces"), { form: { images: file } });
    outcomes.push({ file: file.name, ...answer.photos[0] });
  }
  await load();
}

/** Makes a person. Without a name, a person who is there, but not listed yet, stays as they are. */
async function addPerson(gallery, id, name) {
  try {
    await request("POST", path(gallery, "persons"), { json: { id, name } });
  } catch (error) {
    if (error.code !== "gallery_conflict" || name) throw error;
  }
}

async function search(file) {
  if (!file) return;
  byId("status").textContent = t("searching");
  const form = { image: file, faces: "all", top_k: CANDIDATES };
  const answer = await request("POST", path(chosen().id, "search"), { form });
  found = { ...answer, pixels: await decoded(file) };
  byId("status").textContent = "";
  show();
}

/** Writes everything in the page's current language. */
function show() {
  const gallery = chosen();
  byId("parts").hidden = !gallery;
  byId("delete-gallery").hidden = !gallery;
  byId("facts").textContent = gallery
    ? t("galleryFacts", gallery.persons, gallery.faces, number(gallery.threshold, 2))
    : "";
  byId("outcomes").replaceChildren(...outcomes.map(outcomeItem));
  const titles = ["personId", "personName", "faceCount", "remove"].map((title) => t(title));
  byId("persons-head").replaceChildren(row(titles, "th"));
  byId("persons").replaceChildren(...persons.map(personRow));
  byId("more").hidden = cursor === null;
  const items = (found?.faces ?? []).map((face, index) => ({ ...face, index }));
  items.sort((one, other) => DECISIONS.indexOf(one.decision) - DECISIONS.indexOf(other.decision));
  byId("found").replaceChildren(...items.map(foundItem));
}

function outcomeItem({ file, outcome, problems }) {
  const reasons = problems.map(({ reason, message }) => t("reasons")[reason] ?? message).join("; ");
  const told = outcome === "refused" ? t("refused", reasons) : t(outcome);
  return element("li", { className: outcome }, `${file}: ${told}`);
}

function personRow({ id, name, faces }) {
  const button = element("button", { type: "button", className: "chip" }, t("remove"));
  button.setAttribute("aria-label", `${t("remove")} ${id}`);
  const ids = [chosen().id, "persons", id];
  button.addEventListener("click", () => attempt(() => remove(ids, t("surePerson", id))));
  return row([id, name ?? "", String(faces), button]);
}

function foundItem({ face, decision, doubts, candidates, index }) {
  const chip = element("canvas", { width: 112, height: 112, role: "img" });
  chip.setAttribute("aria-label", t("searchedFace", index + 1));
  drawChip(chip, found.pixels, face.landmarks);
  const words = {
    match: t("foundMatch"),
    no_match: t("foundNoMatch"),
    uncertain: t("foundUncertain", doubts.map((doubt) => t("doubts")[doubt]).join("; ")),
  };
  const verdict = element("p", { className: decision }, words[decision]);
  const rows = candidates.map(({ person, name, similarity }) =>
    row([name ? `${name} (${person})` : person, number(similarity)]),
  );
  return element("li", {}, chip, element("div", {}, verdict, element("table", {}, ...rows)));
}

/** Calls `take` with photos that are dropped on the section of that element. */
function takeDrops(inside, take) {
  const section = byId(inside).closest("section");
  const light = (isOver) => section.classList.toggle("over", isOver);
  section.addEventListener("dragover", (event) => {
    event.preventDefault();
    light(true);
  });
  section.addEventListener("dragleave", () => light(false));
  section.addEventListener("drop", (event) => {
    event.preventDefault();
    light(false);
    attempt(() => take([...event.dataTransfer.files]));
  });
}

/** Calls `take` with the files that are chosen; the same file may be chosen again. */
function takeChoice(id, take) {
  byId(id).addEventListener("change", async ({ target }) => {
    const files = [...target.files];
    await attempt(() => take(files));
    target.value = "";
  });
}

byId("access").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(byId("key").value.trim());
  byId("access").hidden = true;
  attempt(load);
});
byId("gallery").addEventListener("change", () => {
  [outcomes, found] = [[], null];
  attempt(loadPersons);
});
byId("create").addEventListener("submit", (event) => {
  event.preventDefault();
  attempt(create);
});
byId("delete-gallery").addEventListener("click", () => {
  const { id, persons: count } = chosen();
  attempt(() => remove([id], t("sureGallery", id, count)));
});
byId("more").addEventListener("click", () => attempt(async () => {
  await loadMore();
  show();
}));
byId("enrol").addEventListener("submit", (event) => event.preventDefault());
takeChoice("photos", enrol);
takeChoice("searched", ([file]) => search(file));
takeDrops("enrol", enrol);
takeDrops("found", ([file]) => search(file));
const applyTheme = setUpTheme(byId("theme"));
setUpLanguage(byId("language"), () => {
  applyTheme();
  problem.apply();
  show();
});
attempt(load);

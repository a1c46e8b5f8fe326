// The panel above the photos: what to do, what is going on, or the verdict on the shown two faces.

import { drawChip } from "./chips.js";
import { byId, element, number, place } from "./dom.js";
import { faults } from "./doubts.js";
import { t } from "./language.js";

const SIDES = ["source", "target"];

/** Shows words in place of a verdict. */
export function showPrompt(words, hint = "") {
  byId("verdict").textContent = words;
  byId("verdict").className = "";
  explain(hint);
  byId("result").hidden = true;
  for (const side of SIDES) {
    byId(`chip-${side}`).hidden = true;
    byId(`chip-${side}-name`).textContent = "";
    byId(`chip-${side}-facts`).textContent = "";
  }
  showBusy(false);
  byId("status").textContent = `${words}. ${hint}`;
}

/** Says what the page waits for. */
export function showWork(words) {
  showPrompt(words);
  showBusy(true);
}

export function showBusy(isBusy) {
  byId("bridge").setAttribute("aria-busy", String(isBusy));
}

/** Shows a match's similarity and decision, in these words. */
export function showVerdict({ decision, similarity, threshold }, words) {
  byId("verdict").textContent = words;
  byId("verdict").className = decision;
  byId("result").hidden = false;
  byId("similarity").textContent = number(similarity);
  const scale = byId("scale");
  scale.replaceChildren(...scaleParts(similarity, threshold, decision));
  scale.setAttribute("aria-label", t("scaleLabel", number(similarity), number(threshold, 2)));
}

/** Shows words below the verdict; `isCaution` if they limit what it says. */
export function explain(words, isCaution = false) {
  byId("explanation").textContent = words;
  byId("explanation").classList.toggle("caution", isCaution);
}

/** Shows a compared face on its photo's side, its quality and faults; `isDoubted` marks it. */
export function showChip(slot, face, index, isDoubted) {
  const canvas = byId(`chip-${slot.name}`);
  drawChip(canvas, slot.picture, face.landmarks);
  canvas.hidden = false;
  const name = index < 0 ? t(slot.title) : t("faceOf", t(slot.title), index + 1);
  canvas.setAttribute("aria-label", t("chipLabel", name));
  canvas.classList.toggle("doubted", isDoubted);
  const quality = face.quality === null ? [] : [t("qualityIs", number(face.quality, 2))];
  byId(`chip-${slot.name}-name`).textContent = index < 0 ? "" : t("faceNumber", index + 1);
  byId(`chip-${slot.name}-facts`).textContent = [...quality, ...faults(face)].join(", ");
}

/** A scale from -1 to 1 with the similarity and the threshold. */
function scaleParts(similarity, threshold, decision) {
  const at = (value) => (value + 1) / 2;
  const fill = element("span", { className: `fill ${decision}` });
  place(fill, {
    left: Math.min(at(0), at(similarity)),
    width: Math.abs(at(similarity) - at(0)),
  });
  const dot = element("span", { className: `dot ${decision}` });
  place(dot, { left: at(similarity) });
  const mark = element("span", { className: "mark" });
  mark.append(element("small", {}, t("thresholdAt", number(threshold, 2))));
  place(mark, { left: at(threshold) });
  const ticks = [-1, -0.5, 0, 0.5, 1].map((value) => {
    const tick = element("span", { className: "tick" }, number(value, value % 1 ? 1 : 0));
    place(tick, { left: at(value) });
    return tick;
  });
  return [fill, mark, dot, ...ticks];
}

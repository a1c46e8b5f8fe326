// The result of a comparison: the best or the chosen pair, all matches, scores, timings, the call.

import { hasKey } from "./api.js";
import { drawChip } from "./chips.js";
import { byId, element, number, place, row, rove } from "./dom.js";
import { indexOfBox } from "./faces.js";
import { t } from "./language.js";
import { curl, python } from "./snippets.js";
import { showTimings } from "./timings.js";

const DECISIONS = {
  match: "decisionMatch",
  mismatch: "decisionMismatch",
  uncertain: "decisionUncertain",
};

export class Result {
  #shown = null; // { answer, source, target, call }; source and target are slots
  #chosen = 0; // index in the matches
  #language = "curl";

  constructor() {
    rove(byId("matches"));
    rove(byId("tab-curl").parentElement);
    for (const language of ["curl", "python"]) {
      byId(`tab-${language}`).addEventListener("focus", () => this.#showSnippet(language));
      byId(`tab-${language}`).addEventListener("click", () => this.#showSnippet(language));
    }
    byId("copy").addEventListener("click", copySnippet);
  }

  show(shown) {
    this.#shown = shown;
    this.#chosen = 0;
    this.apply();
  }

  clear() {
    if (this.#shown) for (const slot of [this.#shown.source, this.#shown.target]) slot.mark({});
    this.#shown = null;
    byId("result").hidden = true;
  }

  /** The result as a sentence for screen readers. */
  get announcement() {
    const { decision, similarity, threshold } = this.#shown.answer;
    return t("announcement", t(decision), number(similarity), number(threshold, 2));
  }

  /** Writes everything in the page's current language. */
  apply() {
    byId("result").hidden = !this.#shown;
    if (!this.#shown) return;
    const { answer, target } = this.#shown;
    byId("matches-part").hidden = answer.matches.length < 2;
    byId("matches-title").textContent = t("matches", answer.matches.length, t(target.title));
    byId("matches").replaceChildren(...answer.matches.map((match, at) => this.#match(match, at)));
    showTimings(answer.timings);
    this.#showSnippet(this.#language);
    this.#choose(this.#chosen);
  }

  #choose(at) {
    this.#chosen = at;
    const { answer, source, target } = this.#shown;
    const match = answer.matches[at];
    byId("matches").querySelectorAll("button").forEach((button, index) => {
      button.setAttribute("aria-pressed", String(index === at));
      button.tabIndex = index === at ? 0 : -1;
    });
    showChip("source", source, answer.source);
    showChip("target", target, match.face);
    showVerdict(match);
    showScores(match.scores);
    const indexes = answer.matches
      .filter((other) => other.matched)
      .map((other) => indexOfBox(target.found.faces, other.face.box));
    source.mark({ pressed: indexOfBox(source.found.faces, answer.source.box) });
    target.mark({ pressed: indexOfBox(target.found.faces, match.face.box), matched: indexes });
  }

  #match(match, at) {
    const { target } = this.#shown;
    const index = indexOfBox(target.found.faces, match.face.box) + 1;
    const chip = element("canvas", { width: 112, height: 112, "aria-hidden": "true" });
    drawChip(chip, target.picture, match.face.landmarks);
    const similarity = number(match.similarity);
    const button = element(
      "button",
      { type: "button", className: match.decision },
      chip,
      element("span", {}, similarity),
    );
    const words = t("matchLabel", index, similarity, t(DECISIONS[match.decision]));
    button.setAttribute("aria-label", words);
    button.addEventListener("click", () => this.#choose(at));
    return button;
  }

  #showSnippet(language) {
    this.#language = language;
    for (const name of ["curl", "python"]) {
      byId(`tab-${name}`).setAttribute("aria-selected", String(name === language));
    }
    byId("snippet").setAttribute("aria-labelledby", `tab-${language}`);
    byId("copy").textContent = t("copy");
    const write = { curl, python }[language];
    byId("snippet").firstElementChild.textContent = this.#shown ? write(this.#shown.call, hasKey()) : "";
  }
}

function showChip(side, slot, face) {
  const canvas = byId(`chip-${side}`);
  drawChip(canvas, slot.picture, face.landmarks);
  const index = indexOfBox(slot.found.faces, face.box) + 1;
  const name = index ? t("faceOf", t(slot.title), index) : t(slot.title);
  canvas.setAttribute("aria-label", t("chipLabel", name));
  byId(`chip-${side}-name`).textContent = name;
}

function showVerdict({ decision, similarity, threshold }) {
  byId("verdict").textContent = t(decision);
  byId("verdict").className = decision;
  byId("similarity").textContent = number(similarity);
  const scale = byId("scale");
  scale.replaceChildren(...scaleParts(similarity, threshold, decision));
  scale.setAttribute("aria-label", t("scaleLabel", number(similarity), number(threshold, 2)));
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

function showScores(scores) {
  const head = ["recognizer", "similarity", "threshold", "decision", "uncertainty"];
  const rows = Object.entries(scores).map(([name, score]) =>
    row([
      name,
      number(score.similarity),
      number(score.threshold, 2),
      element("span", { className: score.decision }, t(DECISIONS[score.decision])),
      uncertainty(score),
    ]),
  );
  byId("scores").replaceChildren(
    element("thead", {}, row(head.map((name) => t(name)), "th")),
    element("tbody", {}, ...rows),
  );
}

function uncertainty({ source_uncertainty: source, target_uncertainty: target }) {
  const known = (value) => (value === null ? t("none") : number(value));
  if (source === null && target === null) return t("none");
  return t("uncertainties", known(source), known(target));
}

async function copySnippet() {
  try {
    await navigator.clipboard.writeText(byId("snippet").textContent);
    byId("copy").textContent = t("copied");
  } catch {
    byId("copy").textContent = t("copyFailed");
    getSelection().selectAllChildren(byId("snippet"));
  }
}

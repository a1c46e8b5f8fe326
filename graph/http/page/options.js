// The comparison's options: recognizers, faces, and the threshold.

import { byId, element, number } from "./dom.js";
import { t } from "./language.js";
import { facts, others } from "./models.js";

export class Options {
  #served = null; // the answer of /v1/models
  #threshold = null; // null: the recognizers' own
  #used = null; // the threshold of the shown comparison

  constructor(changed) {
    const slider = byId("threshold");
    slider.addEventListener("input", () => {
      this.#threshold = Number(slider.value);
      this.apply();
    });
    slider.addEventListener("change", changed);
    byId("threshold-reset").addEventListener("click", () => {
      this.#threshold = null;
      this.apply();
      slider.focus();
      changed();
    });
    byId("options").addEventListener("change", (event) => {
      if (event.target === slider) return;
      if (!this.recognizers) event.target.checked = true; // a comparison needs one
      this.apply();
      changed();
    });
  }

  /** Offers the served recognizers. */
  show(served) {
    this.#served = served;
    byId("recognizers").replaceChildren(...this.#pools.map((pool, at) => this.#choice(pool, at)));
    this.apply();
  }

  /** Shows the threshold that a comparison was decided by, which depends on the server's fusion. */
  showThreshold(threshold) {
    this.#used = threshold;
    this.apply();
  }

  /** The served models; none until /v1/models has answered. */
  get models() {
    return this.#served?.models ?? [];
  }

  get #pools() {
    return this.models.filter((model) => model.stage === "recognizer");
  }

  /** The chosen recognizers' names, separated by commas; empty until /v1/models has answered. */
  get recognizers() {
    const boxes = [...byId("recognizers").querySelectorAll("input:checked")];
    return boxes.map((box) => box.value).join(",");
  }

  /** The fields of /v1/compare beside its photos; fields with the server's default are left out. */
  get fields() {
    const faces = byId("options").elements.faces.value;
    const fields = { faces };
    const usual = this.#served?.default_recognizers.join(",") ?? "";
    if (this.recognizers && this.recognizers !== usual) fields.recognizers = this.recognizers;
    if (this.#threshold !== null) fields.threshold = this.#threshold;
    return fields;
  }

  apply() {
    const threshold = this.#threshold ?? this.#used;
    if (threshold !== null) byId("threshold").value = threshold;
    const value = threshold === null ? "" : number(threshold, 2);
    byId("threshold-value").textContent = value;
    byId("threshold-reset").hidden = this.#threshold === null;
    const faces = t(this.fields.faces === "all" ? "facesAll" : "facesLargest");
    const words = [this.recognizers.replaceAll(",", " + "), faces, value && t("thresholdAt", value)];
    byId("options-chosen").textContent = words.filter(Boolean).join(" · ");
    this.#describe();
  }

  /** Tells of each model what it is. */
  #describe() {
    for (const [at, pool] of this.#pools.entries()) {
      const words = pool.available ? facts(pool) : `${t("unavailable")} · ${facts(pool)}`;
      byId(`facts-${at}`).textContent = words;
    }
    const lines = others(this.models).map((line) => element("p", { className: "hint" }, line));
    byId("other-models").replaceChildren(...lines);
  }

  #choice(pool, at) {
    const box = element("input", {
      type: "checkbox",
      value: pool.pool,
      checked: this.#served.default_recognizers.includes(pool.pool),
      disabled: !pool.available,
      "aria-describedby": `facts-${at}`,
    });
    const said = element("span", { className: "hint", id: `facts-${at}` });
    return element("div", {}, element("label", {}, box, pool.pool), " ", said);
  }
}

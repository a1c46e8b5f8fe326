// The comparison's options: recognizers, faces, and the threshold.

import { byId, element, number } from "./dom.js";
import { t } from "./language.js";

export class Options {
  #served = null; // the answer of /v1/models
  #threshold = null; // null: the recognizers' own

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
      this.apply();
      changed();
    });
  }

  /** Offers the served recognizers. */
  show(served) {
    this.#served = served;
    const pools = served.models.filter((model) => model.pool);
    byId("recognizers").replaceChildren(...pools.map((pool) => this.#choice(pool)));
    this.apply();
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
    const slider = byId("threshold");
    const own = this.#threshold === null;
    if (own && this.#served) slider.value = this.#ownThreshold();
    byId("threshold-value").textContent = number(Number(slider.value), 2);
    byId("threshold-reset").hidden = own;
  }

  #ownThreshold() {
    const names = this.recognizers.split(",");
    const chosen = this.#served.models.filter((model) => names.includes(model.pool));
    const sum = chosen.reduce((total, model) => total + model.threshold, 0);
    return chosen.length ? sum / chosen.length : 0;
  }

  #choice(pool) {
    const box = element("input", {
      type: "checkbox",
      value: pool.pool,
      checked: this.#served.default_recognizers.includes(pool.pool),
      disabled: !pool.available,
    });
    const words = pool.available ? pool.pool : `${pool.pool} (${t("unavailable")})`;
    return element("label", { title: pool.title ?? "" }, box, ` ${words}`);
  }
}

// What the served models are, and what their weights may be used for.

import { number } from "./dom.js";
import { t } from "./language.js";

/** A model's title, labels, numbers and threshold, and its licence. */
export function facts(model) {
  const parts = [
    model.title,
    model.labels?.join(", "),
    model.embedding_size && t("numbers", model.embedding_size),
    model.threshold !== null && t("thresholdAt", number(model.threshold, 2)),
    `${t("commercialUse")[model.commercial_use]} (${model.licence})`,
  ];
  return parts.filter(Boolean).join(" · ");
}

/** A line for each model that no request chooses. */
export function others(models) {
  const rest = models.filter((model) => model.model && model.stage !== "recognizer");
  return rest.map((model) => `${t(model.stage)} ${model.pool ?? model.model}: ${facts(model)}`);
}

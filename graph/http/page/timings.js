// The time of each stage on each photo, as bars on a common time axis.

import { byId, element, number, place } from "./dom.js";
import { t } from "./language.js";

const PHOTOS = { source: "photo1", target: "photo2" };

/** Shows the timings of an API answer. */
export function showTimings(timings) {
  const start = Math.min(...timings.map((span) => span.start_ms));
  const length = Math.max(...timings.map((span) => span.start_ms + span.duration_ms)) - start;
  const stages = [...new Set(timings.map((span) => span.stage))];
  const rows = stages.map((stage) =>
    stageRow(stage, timings.filter((span) => span.stage === stage), start, length),
  );
  byId("timings").replaceChildren(legend(), ...rows);
  byId("total").textContent = `${number(length, 1)} ms`;
}

/** The row of one stage, with the bars of each photo in a lane of its own. */
function stageRow(name, spans, start, length) {
  const track = element("span", { className: "track", "aria-hidden": "true" });
  const durations = element("span", { className: "duration" });
  for (const image of ["source", "target", null]) {
    const own = spans.filter((span) => span.image === image);
    if (own.length === 0) continue;
    const lane = element("span", { className: `lane ${image ?? "both"}` });
    lane.append(...own.map((span) => bar(span, start, length)));
    track.append(lane);
    durations.append(duration(own, image, start));
  }
  return element("li", {}, element("span", { className: "stage-name" }, words(name)), track, durations);
}

function bar(span, start, length) {
  const filled = element("span", { className: "bar" });
  place(filled, { left: (span.start_ms - start) / length, width: span.duration_ms / length });
  return filled;
}

function duration(spans, image, start) {
  const [{ start_ms: began }] = spans;
  const lasted = number(spans.reduce((sum, span) => sum + span.duration_ms, 0), 1);
  const photo = t(PHOTOS[image] ?? "bothPhotos");
  const spoken = element("span", { className: "hidden" }, `${photo}: `);
  const title = t("span", lasted, number(began - start, 1));
  return element("span", { title }, spoken, `${lasted} ms`);
}

/** A stage's name, such as "recognize:arcface", in the page's language. */
function words(stage) {
  const [kind, pool] = stage.split(":");
  return [t("stages")[kind] ?? kind, pool].filter(Boolean).join(" ");
}

function legend() {
  const entries = Object.entries(PHOTOS).map(([image, title]) =>
    element("span", { className: `key ${image}` }, t(title)),
  );
  return element("li", { className: "hint legend", "aria-hidden": "true" }, ...entries);
}

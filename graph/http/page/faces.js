// The faces of a photo: boxes to click, landmarks, and a table of both.

import { element, number, place, row, rove } from "./dom.js";
import { faults } from "./doubts.js";
import { t } from "./language.js";

const SVG = "http://www.w3.org/2000/svg";
// Up to so many faces all show their numbers; of more, only those under the pointer or in focus.
const FEW = 6;

/** Draws faces over a photo of that size. */
export function showFaces(slot, faces, size) {
  const toolbar = slot.querySelector(".faces");
  toolbar.classList.toggle("few", faces.length <= FEW);
  toolbar.replaceChildren(...faces.map((face, index) => faceBox(face, index, size)));
  slot.querySelector(".frame svg").replaceChildren(...faces.flatMap(landmarks));
  slot.querySelector(".frame svg").setAttribute("viewBox", `0 0 ${size.width} ${size.height}`);
  if (faces.length) toolbar.querySelector("button").tabIndex = 0;
  showTable(slot.querySelector("details"), faces, size);
}

/** Calls `chosen` with the index of a face that is clicked. */
export function setUpFaces(slot, chosen) {
  const toolbar = slot.querySelector(".faces");
  rove(toolbar);
  toolbar.addEventListener("click", (event) => {
    const clicked = event.target.closest("button");
    if (!clicked) return;
    const buttons = [...toolbar.querySelectorAll("button")];
    const meant = event.detail ? nearest(buttons, event) : clicked; // 0: by the keyboard
    meant.focus();
    chosen(buttons.indexOf(meant));
  });
}

/** The button under the pointer; of several, as small faces' buttons overlap, the nearest. */
function nearest(buttons, { clientX: x, clientY: y }) {
  const distances = buttons.map((button) => {
    const { left, right, top, bottom } = button.getBoundingClientRect();
    const isUnder = left <= x && x <= right && top <= y && y <= bottom;
    return isUnder ? Math.hypot(x - (left + right) / 2, y - (top + bottom) / 2) : Infinity;
  });
  return buttons[distances.indexOf(Math.min(...distances))];
}

/** Marks the compared face (`pressed`) and the faces that match it, by their indexes. */
export function markFaces(slot, { pressed = null, matched = [] }) {
  slot.querySelectorAll(".faces button").forEach((button, index) => {
    button.setAttribute("aria-pressed", String(index === pressed));
    button.parentElement.classList.toggle("matched", matched.includes(index));
  });
}

/** The index of the face whose box overlaps this one most; -1 if none has an IoU above 0.5. */
export function indexOfBox(faces, box) {
  const overlaps = faces.map((face) => overlap(face.box, box));
  const best = overlaps.indexOf(Math.max(...overlaps));
  return overlaps[best] > 0.5 ? best : -1;
}

/** The face's box, and its button, which is no smaller than a fingertip needs. */
function faceBox(face, index, size) {
  const tag = element("span", { className: "tag", "aria-hidden": "true" }, String(index + 1));
  const button = element("button", { type: "button", tabIndex: -1 });
  button.setAttribute("aria-label", t("faceLabel", index + 1, number(face.score)));
  button.setAttribute("aria-pressed", "false");
  const box = element("span", { className: "box" }, button, tag);
  const [x1, y1, x2, y2] = face.box;
  place(box, {
    left: x1 / size.width,
    top: y1 / size.height,
    width: (x2 - x1) / size.width,
    height: (y2 - y1) / size.height,
  });
  return box;
}

function landmarks({ box, landmarks: points }) {
  return points.map(([x, y]) => {
    const circle = document.createElementNS(SVG, "circle");
    const parts = { cx: x, cy: y, r: Math.max(0.8, (box[2] - box[0]) / 36) };
    for (const [name, value] of Object.entries(parts)) circle.setAttribute(name, value);
    return circle;
  });
}

function showTable(details, faces, { searched_down_to_px: least }) {
  details.hidden = faces.length === 0;
  details.querySelector("summary").textContent = t("facesTable");
  const titles = ["face", "score", "quality", "faults", "roll", "box", "landmarks"];
  const head = row(titles.map((title) => t(title)), "th");
  const rows = faces.map((face, index) =>
    row([
      String(index + 1),
      number(face.score),
      face.quality === null ? t("none") : number(face.quality, 2),
      faults(face).join(", "),
      face.roll === null ? t("none") : `${number(face.roll, 0)}°`,
      face.box.map((value) => number(value, 0)).join(" "),
      face.landmarks.map((point) => point.map((value) => number(value, 0)).join(",")).join(" "),
    ]),
  );
  details
    .querySelector("table")
    .replaceChildren(
      element("caption", {}, least ? t("searchedDownTo", number(least, 0)) : ""),
      element("thead", {}, head),
      element("tbody", {}, ...rows),
    );
}

function overlap(one, other) {
  const width = Math.min(one[2], other[2]) - Math.max(one[0], other[0]);
  const height = Math.min(one[3], other[3]) - Math.max(one[1], other[1]);
  if (width <= 0 || height <= 0) return 0;
  const area = (box) => (box[2] - box[0]) * (box[3] - box[1]);
  return (width * height) / (area(one) + area(other) - width * height);
}

// The slot of one photo, which is dropped, pasted, chosen, taken by the webcam, or an example.

import { ownError } from "./api.js";
import { byId } from "./dom.js";
import { markFaces, setUpFaces, showFaces } from "./faces.js";
import { applyTexts, t } from "./language.js";
import { decoded, hasServedFormat } from "./photo.js";
import { Problem } from "./problem.js";
import { takePhoto } from "./webcam.js";

const NO_FACES = { faces: [], image: { width: 1, height: 1 } };

export class Slot {
  #events;
  #problem;
  #search = new AbortController();

  /**
   * emptied(slot): called when the photo is taken out; filled(slot): when another one is in, with
   * `isServed` for its format; chosen(slot, index): when a face is clicked.
   */
  constructor(name, title, events) {
    Object.assign(this, { name, title, file: null, picture: null, found: null, isServed: false });
    this.#events = events;
    this.root = byId("slot").content.firstElementChild.cloneNode(true);
    this.root.id = `slot-${name}`;
    this.root.querySelector("h3").id = `title-${name}`;
    this.root.setAttribute("aria-labelledby", `title-${name}`);
    this.root.querySelector("input").id = `file-${name}`;
    this.root.querySelector(".empty").htmlFor = `file-${name}`;
    this.#problem = new Problem(this.root.querySelector(".problem"));
    setUpFaces(this.root, (index) => this.found && events.chosen(this, index));
    this.#listen();
    this.apply();
  }

  get hasFaces() {
    return Boolean(this.found?.faces.length) && !this.isStuck;
  }

  /** True if the photo cannot be compared, for the reason that the slot shows. */
  get isStuck() {
    return this.file !== null && ![null, "no_webcam"].includes(this.#problem.code);
  }

  /** True if the photo has more bytes or pixels than the limits. */
  exceeds({ max_bytes, max_pixels }) {
    const pixels = this.picture ? this.picture.width * this.picture.height : 0;
    return this.file.size > max_bytes || pixels > max_pixels;
  }

  /** Puts another photo in; null takes it out. */
  async put(file) {
    this.#search.abort();
    this.#problem.clear();
    this.picture?.close();
    Object.assign(this, { file, picture: null, found: null, isServed: false });
    this.#showPhoto();
    this.#events.emptied(this);
    if (!file) return;
    const [picture, isServed] = await Promise.all([decoded(file), hasServedFormat(file)]);
    if (this.file !== file) return picture?.close(); // another photo was put in meanwhile
    Object.assign(this, { picture, isServed });
    this.#showPhoto();
    await this.#events.filled(this);
  }

  /** Begins a search for faces; ends the one before. */
  newSearch() {
    this.#search.abort();
    this.#search = new AbortController();
    return this.#search.signal;
  }

  /** Takes back a problem, before another attempt. */
  clearProblem() {
    this.#problem.clear();
    this.#showCaption();
  }

  /** Shows an answer of /v1/detect: the faces, and the photo's size. */
  show(found) {
    this.found = found;
    if (found.faces.length === 0) this.#problem.show(ownError("face_not_found"));
    this.apply();
  }

  fail(error, retry) {
    this.#problem.show(error, retry);
    this.#showCaption();
  }

  mark(marks) {
    markFaces(this.root, marks);
  }

  /** Writes all texts in the page's current language. */
  apply() {
    applyTexts(this.root);
    const title = t(this.title);
    const { faces, image } = this.found ?? NO_FACES;
    showFaces(this.root, faces, image);
    this.#problem.apply();
    this.root.querySelector("h3").textContent = title;
    this.root.querySelector("img").alt = this.file ? `${title}: ${this.file.name}` : "";
    this.root.querySelector(".faces").setAttribute("aria-label", t("facesToolbar", title));
    for (const control of this.root.querySelectorAll("input, .camera, .clear")) {
      const words = control.matches("input") ? t("choose") : control.textContent;
      control.setAttribute("aria-label", `${words}: ${title}`);
    }
    this.#showCaption();
  }

  #showCaption() {
    const words = this.file ? [this.file.name] : [];
    if (this.found) {
      const { faces, image } = this.found;
      words.push(`${image.width} × ${image.height}`, t("facesFound", faces.length));
      if (image.truncated) words.push(t("cutOff"));
    } else if (this.file && !this.isStuck) words.push(t("looking"));
    this.root.querySelector(".caption").textContent = words.join(" · ");
  }

  #showPhoto() {
    const image = this.root.querySelector("img");
    URL.revokeObjectURL(image.src);
    image.removeAttribute("src");
    const frame = this.root.querySelector(".frame");
    frame.hidden = !this.picture;
    this.root.querySelector(".no-preview").hidden = !this.isServed || this.picture;
    if (this.picture) {
      image.src = URL.createObjectURL(this.file);
      frame.style.setProperty("--ratio", String(this.picture.width / this.picture.height));
    }
    for (const selector of [".stage", ".clear"]) {
      this.root.querySelector(selector).hidden = this.file === null;
    }
    this.root.querySelector(".empty").hidden = this.file !== null;
    this.apply();
  }

  #listen() {
    const input = this.root.querySelector("input");
    input.addEventListener("change", () => {
      if (input.files[0]) this.put(input.files[0]);
      input.value = ""; // so that the same file can be chosen again
    });
    this.root.querySelector(".camera").addEventListener("click", () => this.#takePhoto());
    this.root.querySelector(".clear").addEventListener("click", () => {
      this.put(null);
      input.focus();
    });
  }

  async #takePhoto() {
    try {
      const photo = await takePhoto();
      if (photo) await this.put(photo);
    } catch (error) {
      if (!(error instanceof DOMException)) throw error;
      this.#problem.show(ownError("no_webcam"));
    }
  }
}

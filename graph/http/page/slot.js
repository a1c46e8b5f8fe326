// The slot of one photo, which is dropped, pasted, chosen, taken by the webcam, or an example.

import { byId } from "./dom.js";
import { markFaces, setUpFaces, showFaces } from "./faces.js";
import { applyTexts, t } from "./language.js";
import { takePhoto } from "./webcam.js";

const HEIGHT = "23rem";

export class Slot {
  /** changed(slot): called when the photo changes; chosen(slot, index): when a face is clicked. */
  constructor(name, title, { changed, chosen }) {
    Object.assign(this, { name, title, changed, chosen, file: null, picture: null, found: null });
    this.root = byId("slot").content.firstElementChild.cloneNode(true);
    this.root.id = `slot-${name}`;
    this.root.querySelector("h3").id = `title-${name}`;
    this.root.setAttribute("aria-labelledby", `title-${name}`);
    this.root.querySelector("input").id = `file-${name}`;
    this.root.querySelector(".empty").htmlFor = `file-${name}`;
    setUpFaces(this.root);
    this.#listen();
    this.apply();
  }

  /** Puts another photo in; null takes it out. */
  async put(file) {
    this.file = file;
    this.found = null;
    const picture = file && (await decoded(file));
    if (this.file !== file) return picture?.close(); // another photo was put in meanwhile
    this.picture?.close();
    this.picture = picture;
    this.#showPhoto();
    this.changed(this);
  }

  /** Shows an answer of /v1/detect: the faces, and the photo's size. */
  show(found) {
    this.found = found;
    showFaces(this.root, found.faces, found.image, (index) => this.chosen(this, index));
    this.apply();
  }

  mark(marks) {
    markFaces(this.root, marks);
  }

  /** Writes all texts in the page's current language. */
  apply() {
    applyTexts(this.root);
    const title = t(this.title);
    this.root.querySelector("h3").textContent = title;
    this.root.querySelector("img").alt = this.file ? `${title}: ${this.file.name}` : "";
    this.root.querySelector(".faces").setAttribute("aria-label", t("facesToolbar", title));
    for (const control of this.root.querySelectorAll("input, .camera, .clear")) {
      const words = control.matches("input") ? t("choose") : control.textContent;
      control.setAttribute("aria-label", `${words}: ${title}`);
    }
    this.root.querySelector(".caption").textContent = this.file ? this.#caption() : "";
  }

  #caption() {
    const words = [this.file.name];
    if (!this.picture) words.push(t("noPreview"));
    if (this.found) {
      const { width, height } = this.found.image;
      words.push(`${width} × ${height}`, t("facesFound", this.found.faces.length));
    } else words.push(t("looking"));
    return words.join(" · ");
  }

  #showPhoto() {
    const image = this.root.querySelector("img");
    URL.revokeObjectURL(image.src);
    image.removeAttribute("src");
    showFaces(this.root, [], { width: 1, height: 1 }, () => {});
    const frame = this.root.querySelector(".frame");
    if (this.picture) {
      image.src = URL.createObjectURL(this.file);
      const ratio = this.picture.width / this.picture.height;
      frame.style.setProperty("aspect-ratio", String(ratio));
      frame.style.setProperty("width", `min(100%, calc(${HEIGHT} * ${ratio}))`);
    }
    this.root.querySelector(".stage").hidden = !this.picture;
    this.root.querySelector(".caption").hidden = this.file === null;
    this.root.querySelector(".empty").hidden = this.file !== null;
    this.root.querySelector(".clear").hidden = this.file === null;
    this.apply();
  }

  #listen() {
    const input = this.root.querySelector("input");
    input.addEventListener("change", () => {
      if (input.files[0]) this.put(input.files[0]);
      input.value = ""; // so that the same file can be chosen again
    });
    this.root.querySelector(".camera").addEventListener("click", async () => {
      const photo = await takePhoto();
      if (photo) this.put(photo);
    });
    this.root.querySelector(".clear").addEventListener("click", () => {
      this.put(null);
      input.focus();
    });
  }
}

/** Puts photos that are dropped or pasted anywhere on the page into the slots. */
export function takeDropsAndPastes(slots) {
  const over = (event) => slots.find((slot) => slot.root.contains(event.target));
  const light = (lit) => {
    for (const slot of slots) slot.root.classList.toggle("over", slot === lit);
  };
  addEventListener("dragover", (event) => {
    event.preventDefault();
    light(over(event));
  });
  addEventListener("dragleave", () => light(null));
  addEventListener("drop", (event) => {
    event.preventDefault();
    light(null);
    putAll(slots, [...event.dataTransfer.files], over(event));
  });
  addEventListener("paste", (event) => {
    const files = [...(event.clipboardData?.files ?? [])];
    if (files.length) event.preventDefault();
    putAll(slots, files, over(event));
  });
}

/** Puts files into the slot under the pointer or the focus; without one, into empty slots first. */
function putAll(slots, files, preferred) {
  const first = preferred ?? slots.find((slot) => !slot.file) ?? slots[slots.length - 1];
  const order = [first, ...slots.filter((slot) => slot !== first)];
  files.slice(0, slots.length).forEach((file, index) => order[index].put(file));
}

/** The decoded photo, upright by its EXIF orientation as on the server; null if unreadable. */
function decoded(file) {
  return createImageBitmap(file, { imageOrientation: "from-image" }).catch(() => null);
}

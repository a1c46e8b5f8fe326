// Photos that are dropped or pasted anywhere on the page.

/** Puts dropped and pasted photos into the slots. */
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

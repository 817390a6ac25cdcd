// Files that are pasted into the page or dropped on it.

/** onFiles(files); onNothing() where what was dropped is no file. `page.dataset.drag` is "true" while something is over it. */
export function takeFiles(page, { onFiles, onNothing }) {
  let depth = 0;
  addEventListener("paste", ({ clipboardData }) => clipboardData?.files.length && onFiles(clipboardData.files));
  addEventListener("dragenter", () => (page.dataset.drag = ++depth > 0));
  addEventListener("dragleave", () => (page.dataset.drag = --depth > 0));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    depth = 0;
    page.dataset.drag = false;
    if (event.dataTransfer.files.length) onFiles(event.dataTransfer.files);
    else onNothing();
  });
}

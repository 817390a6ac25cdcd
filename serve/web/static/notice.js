// Notice at the top of a page: an error or a hint, with an action.

const $ = (id) => document.getElementById(id);

/** Show a text; `action` is {label, run}, `about` what it is about, for `noticeIsAbout`. */
export function notify(text, action = null, about = "") {
  $("notice").dataset.about = about;
  $("notice-text").textContent = text[0].toUpperCase() + text.slice(1);
  $("notice-action").hidden = !action;
  if (action) {
    $("notice-action").textContent = action.label;
    $("notice-action").onclick = () => {
      hideNotice();
      action.run();
    };
  }
  $("notice").hidden = false;
}

export const hideNotice = () => ($("notice").hidden = true);

export const noticeIsAbout = (about) => $("notice").dataset.about === about;

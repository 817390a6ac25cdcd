// Form for the API key.

import { hasKey, setKey } from "./api.js";

const WANTED = "This server asks for an API key. It is kept until this tab is closed.";
const UNKNOWN = "This server does not know that key. Check it, and try again.";

const $ = (id) => document.getElementById(id);

/** Whether an error asked for the key; the form is shown then, and says whether one was refused. */
export function keyIsWanted(error) {
  if (error.status !== 401) return false;
  $("key-text").textContent = hasKey() ? UNKNOWN : WANTED;
  $("key").setAttribute("aria-invalid", hasKey());
  $("key-form").hidden = false;
  $("key").focus();
  return true;
}

export const hideKeyForm = () => ($("key-form").hidden = true);

/** Call back when a key has been entered, and is used from then on. */
export function onKey(callback) {
  $("key-form").onsubmit = (event) => {
    event.preventDefault();
    setKey($("key").value);
    $("key").value = "";
    callback();
  };
}

/** The list of rooms: opens a new one and invites people into it. */

import { call } from "./api.js";

const page = JSON.parse(document.getElementById("page").textContent);
const form = document.getElementById("new-room");
const warning = document.getElementById("alert");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  warning.hidden = true;
  try {
    const title = document.getElementById("room-title").value.trim();
    const { id } = await call("POST", `${page.urls.api}conversations/`, { title });
    for (const { value: user } of form.querySelectorAll("[name=invited]:checked")) {
      await call("POST", `${page.urls.api}conversations/${id}/members/`, { user });
    }
    location.assign(`${page.urls.rooms}${id}/`);
  } catch (error) {
    warning.textContent = error.message;
    warning.hidden = false;
    button.disabled = false;
  }
});

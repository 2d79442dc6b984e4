/** The room page: the model that is chosen answers what is sent next. */

const model = document.getElementById("model");
model.addEventListener("change", () => document.querySelector("llm-chat").setAttribute("model", model.value));

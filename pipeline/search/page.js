"use strict";
const told = document.getElementById("told");
const list = document.getElementById("hits");

// Whatever the web wrote is text here, never markup.
function line(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

function show(hit) {
  const item = document.createElement("li");
  const image = document.createElement("img");
  image.src = "picture/" + hit.row;
  image.alt = hit.caption;
  image.loading = "lazy";
  const about = document.createElement("div");
  about.append(
    line("span", hit.caption),
    line("small", hit.similarity.toFixed(3) + " · " + hit.caption_lang + " · " + hit.domain));
  const more = line("button", "More like this");
  more.addEventListener("click", () => ask("search?row=" + hit.row));
  item.append(image, about, more);
  return item;
}

async function ask(path, body) {
  told.textContent = "Searching …";
  try {
    const answer = await fetch(path, body ? { method: "POST", body } : {});
    const found = await answer.json();
    if (!answer.ok) throw new Error(found.error);
    list.replaceChildren(...found.hits.map(show));
    told.textContent = found.hits.length + " of " + found.pictures.toLocaleString() +
      " kept pictures, the nearest first";
  } catch (error) {
    list.replaceChildren();
    told.textContent = error.message;
  }
}

document.getElementById("ask").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = document.getElementById("text").value.trim();
  if (text) ask("search?text=" + encodeURIComponent(text));
});
document.getElementById("file").addEventListener("change", (event) => {
  if (event.target.files.length) ask("search", event.target.files[0]);
});
const asked = new URLSearchParams(location.search).get("text");
if (asked) {
  document.getElementById("text").value = asked;
  ask("search?text=" + encodeURIComponent(asked));
}

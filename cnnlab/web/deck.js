// Lays the slides out for 1280 x 720 before reveal.js takes over: what does not fit goes on to
// another slide below, and what is too large by itself is made smaller.
const ROOM = { width: 1184, height: 660 };

// Code and printed text that is too tall is cut near its middle, code before a statement.
function cut(block) {
  const pre = block.querySelector("pre");
  if (!pre || block.scrollHeight <= ROOM.height) return;
  const words = pre.textContent.split("\n");
  const starts = (pattern) => [...words.keys()].filter((i) => i && pattern.test(words[i]));
  const patterns = block.matches(".text") ? [/^/] : [/^[\w@%]/, /^ {4}[\w@%]/];
  const places = patterns.map(starts).find((found) => found.length);
  if (!places) return;
  const distance = (i) => Math.abs(i - words.length / 2);
  const middle = places.reduce((best, i) => (distance(i) < distance(best) ? i : best));
  const rest = block.cloneNode(true);
  const lines = pre.innerHTML.split("\n"); // each line closes the tags that it opens
  pre.innerHTML = lines.slice(0, middle).join("\n").trimEnd();
  rest.querySelector("pre").innerHTML = lines.slice(middle).join("\n");
  block.after(rest);
  cut(block);
  cut(rest);
}

function shrink(block) {
  const zoom = Math.min(ROOM.height / block.scrollHeight, ROOM.width / block.scrollWidth, 1);
  if (zoom < 1) block.style.zoom = Math.floor(zoom * 100) / 100;
}

// What is said of a slide goes for those that continue it: its outputs, a solution.
function carryNotes(from, to) {
  const notes = from.querySelector("aside.notes");
  if (!notes) return;
  const again = notes.cloneNode(true);
  if (!again.firstElementChild.matches(".continued")) {
    again.insertAdjacentHTML("afterbegin", '<p class="continued"><em>(continued)</em></p>');
  }
  to.append(again);
}

function addSlide(after) {
  const slide = document.createElement("section");
  carryNotes(after, slide);
  after.after(slide);
  return slide;
}

function paginate(first) {
  let slide = first, used = 0;
  const heights = new Map();
  first.querySelectorAll(":scope > .block").forEach(cut);
  for (const block of first.querySelectorAll(":scope > .block")) {
    shrink(block);
    const height = block.getBoundingClientRect().height;
    if (used > 0 && used + height > ROOM.height) {
      slide = addSlide(slide);
      used = 0;
      block.classList.remove("fragment"); // an empty slide would wait for it
    }
    if (slide !== first) slide.append(block);
    used += height;
    heights.set(slide, used);
  }
  heights.forEach((height, one) => enlarge(one, ROOM.height - height));
}

// An image takes the room that is left: what is written in it is read from the back row.
function enlarge(slide, room) {
  const images = slide.querySelectorAll(":scope > .image img");
  if (images.length !== 1) return;
  const [{ width, height, style }] = images;
  const zoom = Math.min(1.5, ROOM.width / width, (height + room) / height);
  if (zoom > 1) Object.assign(style, { width: `${width * zoom}px`, maxWidth: "none", maxHeight: "none" });
}

async function startDeck() {
  await Promise.all([...document.images].map((image) => image.decode().catch(() => {})));
  for (const slide of document.querySelectorAll(".slides > section > section")) {
    const above = slide.previousElementSibling;
    if (above && !slide.querySelector("aside.notes")) carryNotes(above, slide);
    paginate(slide);
  }
  document.documentElement.dataset.laidOut = "yes";
  await Reveal.initialize({
    width: 1280, height: 720, margin: 0, center: false, hash: true, slideNumber: "c/t",
    transition: "none", controlsTutorial: false, pdfSeparateFragments: false, plugins: [RevealNotes],
  });
  document.documentElement.dataset.ready = "yes";
}

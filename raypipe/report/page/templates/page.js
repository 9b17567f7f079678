// Wide tables can be scrolled by keyboard.
const reachable = () => {
  for (const each of document.querySelectorAll(".scroll")) {
    const wide = each.scrollWidth > each.clientWidth + 1;
    each.toggleAttribute("tabindex", wide);
    if (wide) each.tabIndex = 0;
    each.role = wide ? "region" : null;
  }
};
addEventListener("resize", reachable);
addEventListener("toggle", reachable, true);
reachable();
// A link into a closed part opens it.
const reveal = () => {
  const target = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let part = target; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
  if (target) target.scrollIntoView();
};
addEventListener("hashchange", reveal);
reveal();
for (const link of document.querySelectorAll("a.link")) {
  link.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(link.href);
      link.textContent = "# copied";
    } catch {
      link.textContent = "# see the address bar";
    }
    setTimeout(() => { link.textContent = "#"; }, 1500);
  });
}
// A click on a picture enlarges it; it flickers between the clean and the adversarial tile twice a second.
const viewer = document.createElement("dialog");
viewer.id = "viewer";
viewer.ariaLabel = "Enlarged tile";
let shown = [], timer = null;
const image = document.createElement("img"), caption = document.createElement("p"), text = document.createElement("p");
const buttons = document.createElement("div");
const show = (number) => {
  image.src = shown[number].src;
  image.alt = shown[number].alt;
  text.textContent = `${shown[number].dataset.name}: ${shown[number].dataset.text}`;
  [...buttons.children].forEach((button, place) => { button.ariaPressed = String(place === number); });
};
const still = () => { clearInterval(timer); timer = null; };
const flicker = () => {
  let number = 0;
  still();
  timer = setInterval(() => { number = 1 - number; show(number); buttons.children[3].ariaPressed = "true"; }, 500);
};
for (const [number, name] of ["Clean", "Adversarial", "Difference", "Flicker", "Close"].entries()) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = name;
  button.addEventListener("click", () => {
    if (number === 4) viewer.close();
    else if (number === 3) timer ? (still(), show(0)) : flicker();
    else { still(); show(number); }
  });
  buttons.append(button);
}
viewer.append(caption, image, text, buttons);
viewer.addEventListener("close", still);
viewer.addEventListener("click", (event) => { if (event.target === viewer) viewer.close(); });
for (const button of document.querySelectorAll("button.images")) {
  button.addEventListener("click", () => {
    if (!viewer.isConnected) document.body.append(viewer);
    shown = [...button.querySelectorAll("img")];
    caption.textContent = button.closest(".picture").querySelector("figcaption").textContent.replace(/\s+/g, " ").trim();
    show(0);
    viewer.showModal();
  });
}

"use strict";
for (const group of document.querySelectorAll("[data-slider]")) {
  const slider = group.querySelector("input");
  const output = group.querySelector("output");
  const button = group.querySelector("button");
  const words = JSON.parse(group.dataset.slider);
  let timer = 0;

  const show = () => {
    const position = Number(slider.value);
    output.textContent = words[position];
    slider.setAttribute("aria-valuetext", words[position]);
    for (const reel of group.querySelectorAll("[data-reel]")) {
      let current = reel.querySelector("img");
      for (const image of reel.querySelectorAll("img")) {
        image.hidden = true;
        if (Number(image.dataset.from) <= position) current = image;
      }
      current.hidden = false;
    }
  };
  const stop = () => {
    clearInterval(timer);
    timer = 0;
    button.textContent = "Play";
  };
  const advance = () => {
    if (Number(slider.value) >= words.length - 1) return stop();
    slider.value = Number(slider.value) + 1;
    show();
  };

  slider.addEventListener("input", () => { stop(); show(); });
  button.addEventListener("click", () => {
    if (timer) return stop();
    if (Number(slider.value) >= words.length - 1) slider.value = 0;
    button.textContent = "Pause";
    show();
    timer = setInterval(advance, 400);
  });
  group.querySelector(".controls").hidden = words.length < 2;
  show();
}

// MLflow keeps its pages in the URL's fragment, which browsers never send. A redirect to the sign-in page leaves it on
// that page's own URL; from there it goes into everything that leads back. Without JavaScript only the fragment is lost.
"use strict";
const fragment = location.hash;
if (fragment.length > 1 && fragment !== "#main" && fragment.length < 2048) {
  const keep = (path) => (path.includes("#") ? path : path + fragment);
  for (const element of document.querySelectorAll("[data-keeps-fragment]")) {
    if (element instanceof HTMLInputElement) {
      element.value = keep(element.value);
    } else {
      const target = new URL(element.href);
      target.searchParams.set("rd", keep(target.searchParams.get("rd") || "/"));
      element.href = target.href;
    }
  }
}
const onward = document.querySelector("[data-onward]");
if (onward) {
  location.replace(onward.href);
}

// Takes a form to an identity provider without a click. Without JavaScript its button does.
"use strict";
document.querySelector("form[data-submit]").submit();

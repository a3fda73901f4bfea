// Renders the document that the page names. Nothing is asked of other hosts:
// the online validator is off, and the page's policy forbids the rest.
const page = document.getElementById("docs");

window.SwaggerUIBundle({
  domNode: page,
  url: page.dataset.spec,
  validatorUrl: null,
  deepLinking: true,
  displayRequestDuration: true,
  docExpansion: "list",
  filter: true,
  tagsSorter: "alpha",
});

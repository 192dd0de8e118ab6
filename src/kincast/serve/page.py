"""Page: the page at ``/docs``: reads ``/openapi.json`` and lets one try each route, with nothing from other hosts."""

from __future__ import annotations

DOCS_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

DOCS_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Kincast API</title>
<style>
:root { color-scheme: light dark; }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
details { border: 1px solid #8886; border-radius: 6px; margin: .6rem 0; padding: .5rem .8rem; }
summary { cursor: pointer; }
summary code { font-weight: 600; }
label { display: block; margin: .5rem 0; }
input, textarea { font: 14px/1.4 ui-monospace, monospace; width: 100%; box-sizing: border-box; padding: .4rem; }
button { font: inherit; padding: .3rem 1rem; }
pre { background: #8882; padding: .6rem; border-radius: 6px; overflow: auto; white-space: pre-wrap; }
</style>
</head>
<body>
<main>
<h1>Kincast API</h1>
<p>The machine-readable description is <a href="/openapi.json">/openapi.json</a>.</p>
<div id="routes" aria-live="polite">Loading…</div>
<noscript>This page needs JavaScript to list the routes; /openapi.json has them as well.</noscript>
</main>
<script>
"use strict";
function make(tag, text, attributes) {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  Object.assign(element, attributes || {});
  return element;
}
function field(parent, name, input) {
  const label = make("label", name + " ");
  label.append(input);
  parent.append(label);
  return input;
}
function show(route, method, operation, schemas) {
  const box = make("details");
  const head = make("summary");
  head.append(make("code", method.toUpperCase() + " " + route), " " + (operation.summary || ""));
  box.append(head);
  const inputs = (operation.parameters || []).map(function (parameter) {
    const note = parameter.required ? "" : " (optional)";
    return [parameter, field(box, parameter.name + note, make("input", "", {type: "text"}))];
  });
  let body = null;
  if (operation.requestBody) {
    body = field(box, "Body (JSON)", make("textarea", "", {rows: 3, value: '{"keys": [1], "as_of": null}'}));
    const fold = make("details");
    const named = operation.requestBody.content["application/json"].schema.$ref.split("/").pop();
    fold.append(make("summary", "Body schema"), make("pre", JSON.stringify(schemas[named], null, 2)));
    box.append(fold);
  }
  const button = make("button", "Send", {type: "button"});
  const output = make("pre", "", {hidden: true});
  button.addEventListener("click", async function () {
    let url = route;
    const query = new URLSearchParams();
    for (const [parameter, input] of inputs) {
      if (parameter.in === "path") url = url.replace("{" + parameter.name + "}", encodeURIComponent(input.value));
      else if (input.value) query.set(parameter.name, input.value);
    }
    if (query.toString()) url += "?" + query;
    const options = {method: method.toUpperCase()};
    if (body) Object.assign(options, {body: body.value, headers: {"Content-Type": "application/json"}});
    output.hidden = false;
    try {
      const response = await fetch(url, options);
      let text = await response.text();
      try { text = JSON.stringify(JSON.parse(text), null, 2); } catch (ignored) { /* not JSON: shown as it is */ }
      output.textContent = response.status + " " + response.statusText + "\\n" + text;
    } catch (error) {
      output.textContent = "The server did not answer: " + error.message;
    }
  });
  box.append(button, output);
  return box;
}
fetch("/openapi.json").then(function (response) { return response.json(); }).then(function (description) {
  const routes = document.getElementById("routes");
  routes.textContent = "";
  for (const [route, methods] of Object.entries(description.paths))
    for (const [method, operation] of Object.entries(methods))
      routes.append(show(route, method, operation, description.components.schemas));
}).catch(function (error) {
  document.getElementById("routes").textContent = "The description could not be read: " + error.message;
});
</script>
</body>
</html>
"""

"use strict";
(function () {
  var root = document.documentElement, button = document.getElementById("theme");
  function stored() { try { return localStorage.getItem("distcnn-theme"); } catch (error) { return null; } }
  function isDark() {
    var theme = root.getAttribute("data-theme");
    return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  }
  function show() { button.textContent = isDark() ? "Light colours" : "Dark colours"; }
  if (stored()) { root.setAttribute("data-theme", stored()); }
  button.hidden = false;
  button.addEventListener("click", function () {
    var theme = isDark() ? "light" : "dark";
    root.setAttribute("data-theme", theme);
    try { localStorage.setItem("distcnn-theme", theme); } catch (error) { /* a file may keep nothing */ }
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
  show();

  function value(row, column) {
    var cell = row.cells[column], sorted = cell.getAttribute("data-value");
    return sorted === null ? cell.textContent.trim() : (sorted === "" ? null : Number(sorted));
  }
  function compare(one, two) {
    if (one === null || two === null) { return one === two ? 0 : (one === null ? 1 : -1); }
    return typeof one === "number" ? one - two : one.localeCompare(two, "en", { numeric: true });
  }
  function sort(head, column) {
    var up = head.getAttribute("aria-sort") !== "ascending";
    var body = head.closest("table").tBodies[0], rows = Array.from(body.rows);
    rows.sort(function (a, b) {
      var one = value(a, column), two = value(b, column), order = compare(one, two);
      return one === null || two === null || up ? order : -order;
    });
    head.parentNode.querySelectorAll("th").forEach(function (other) { other.setAttribute("aria-sort", "none"); });
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    rows.forEach(function (row) { body.appendChild(row); });
    document.getElementById("said").textContent = "Sorted by " + head.textContent.trim() + (up ? ", ascending" : ", descending");
  }
  document.querySelectorAll("table.sortable thead th").forEach(function (head) {
    var column = head.cellIndex, made = document.createElement("button");
    made.type = "button";
    while (head.firstChild) { made.appendChild(head.firstChild); }
    head.appendChild(made);
    head.setAttribute("aria-sort", "none");
    made.addEventListener("click", function () { sort(head, column); });
  });

  // What goes on to the right fades out there.
  function fade(box) {
    box.classList.toggle("more", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
  }
  // What can be scrolled sideways has to be reached by the keyboard; what cannot need not be.
  function reach() {
    document.querySelectorAll(".scroll").forEach(function (box) {
      fade(box);
      if (box.scrollWidth > box.clientWidth + 1) {
        box.setAttribute("tabindex", "0");
        box.setAttribute("role", "region");
        box.setAttribute("aria-label", box.getAttribute("data-name"));
      } else {
        ["tabindex", "role", "aria-label"].forEach(function (name) { box.removeAttribute(name); });
      }
    });
  }
  document.querySelectorAll(".scroll").forEach(function (box) {
    box.addEventListener("scroll", function () { fade(box); }, { passive: true });
  });
  document.querySelectorAll("details").forEach(function (one) { one.addEventListener("toggle", reach); });
  window.addEventListener("resize", reach);
  window.addEventListener("load", reach);
  reach();

  var links = document.querySelectorAll("nav a");
  if ("IntersectionObserver" in window) {
    var watch = new IntersectionObserver(function (seen) {
      seen.forEach(function (one) {
        if (!one.isIntersecting) { return; }
        links.forEach(function (link) {
          if (link.hash === "#" + one.target.id) { link.setAttribute("aria-current", "true"); } else { link.removeAttribute("aria-current"); }
        });
      });
    }, { rootMargin: "-15% 0px -80% 0px" });
    document.querySelectorAll("main > section").forEach(function (one) { watch.observe(one); });
  }
}());

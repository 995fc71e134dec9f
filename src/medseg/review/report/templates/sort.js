"use strict";
(function () {
  function key(row, column) {
    var value = row.cells[column].dataset.value;
    if (value === "") return null;
    var number = Number(value);
    return Number.isNaN(number) ? value.toLowerCase() : number;
  }
  function compare(a, b, sign) {
    if (a === null || b === null) return (a === null) - (b === null);
    if (typeof a !== typeof b) return typeof a === "number" ? -1 : 1;
    return (a < b ? -1 : a > b ? 1 : 0) * sign;
  }
  function sort(table, heading) {
    var up = heading.getAttribute("aria-sort") !== "ascending", body = table.tBodies[0];
    table.querySelectorAll("th[aria-sort]").forEach(function (other) { other.removeAttribute("aria-sort"); });
    heading.setAttribute("aria-sort", up ? "ascending" : "descending");
    Array.from(body.rows)
      .map(function (row) { return [key(row, heading.cellIndex), row]; })
      .sort(function (a, b) { return compare(a[0], b[0], up ? 1 : -1); })
      .forEach(function (entry) { body.appendChild(entry[1]); });
  }
  document.querySelectorAll("table.sortable").forEach(function (table) {
    table.querySelectorAll("thead th").forEach(function (heading) {
      var button = document.createElement("button");
      button.type = "button";
      button.textContent = heading.textContent;
      heading.replaceChildren(button);
      button.addEventListener("click", function () { sort(table, heading); });
    });
  });
  window.addEventListener("beforeprint", function () {
    document.querySelectorAll("details").forEach(function (one) { one.open = true; });
  });
})();

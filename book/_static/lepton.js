(function () {
  "use strict";
  /* Whatever scrolls sideways must be reachable by keyboard (WCAG 2.1.1). */
  var SCROLLERS = "pre, .math.notranslate, .pst-scrollable-table-container, .output, .cell_output";
  function mark() {
    document.querySelectorAll(SCROLLERS).forEach(function (element) {
      var scrolls = element.scrollWidth > element.clientWidth + 1;
      if (scrolls && !element.hasAttribute("tabindex")) {
        element.setAttribute("tabindex", "0");
        element.dataset.leptonScroll = "1";
      } else if (!scrolls && element.dataset.leptonScroll) {
        element.removeAttribute("tabindex");
        delete element.dataset.leptonScroll;
      }
    });
  }
  /* Names that the theme and docutils leave out. */
  function name() {
    document.querySelectorAll(".bd-sidebar summary, nav summary").forEach(function (summary) {
      var item = summary.closest("li");
      var link = item && item.querySelector("a");
      if (link && !summary.textContent.trim()) {
        summary.setAttribute("aria-label", "Pages of " + link.textContent.trim());
      }
    });
    document.querySelectorAll("div.citation-list[role=list]").forEach(function (list) {
      list.removeAttribute("role");
    });
  }
  document.addEventListener("DOMContentLoaded", name);
  window.addEventListener("load", function () {
    mark();
    var ready = window.MathJax && window.MathJax.startup && window.MathJax.startup.promise;
    if (ready) ready.then(mark);
  });
  window.addEventListener("resize", mark);
})();

(function () {
  "use strict";
  /* Whatever scrolls sideways must be reachable by keyboard (WCAG 2.1.1). */
  var SCROLLERS = "pre, .math.notranslate, div.math mjx-container, .pst-scrollable-table-container, .output, .cell_output";
  function mark() {
    markMore();
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
  /* A table or a formula that goes on to the right says so. */
  function more(event) {
    var box = event.target;
    var rest = box.scrollWidth - box.clientWidth - box.scrollLeft;
    box.classList.toggle("lepton-more", rest > 8);
  }
  function markMore() {
    var boxes = ".pst-scrollable-table-container, div.math mjx-container";
    document.querySelectorAll(boxes).forEach(function (box) {
      more({ target: box });
      box.addEventListener("scroll", more, { passive: true });
    });
  }
  /* Long names may break after a dot or an underscore, where a reader would break them. */
  function breakNames() {
    var places = ".lepton-ledger code .pre, .bd-article h2, .page-toc a, .bd-article dt.sig .descname";
    document.querySelectorAll(places).forEach(function (element) {
      var walker = document.createTreeWalker(element, NodeFilter.SHOW_TEXT);
      var texts = [];
      while (walker.nextNode()) texts.push(walker.currentNode);
      texts.forEach(function (text) {
        var parts = text.data.split(/([._]+)(?=[A-Za-z])/);
        if (parts.length < 3 || text.parentElement.closest(".math")) return;
        var pieces = document.createDocumentFragment();
        for (var i = 0; i < parts.length; i += 2) {
          if (i) pieces.append(document.createElement("wbr"));
          pieces.append(parts[i] + (parts[i + 1] || ""));
        }
        text.replaceWith(pieces);
      });
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
  document.addEventListener("DOMContentLoaded", function () {
    name();
    breakNames();
  });
  window.addEventListener("load", function () {
    mark();
    var ready = window.MathJax && window.MathJax.startup && window.MathJax.startup.promise;
    if (ready) ready.then(mark);
  });
  window.addEventListener("resize", mark);
})();

/* Whatever scrolls sideways must be reachable by keyboard (WCAG 2.1.1). */
(function () {
  "use strict";
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
  window.addEventListener("load", function () {
    mark();
    var ready = window.MathJax && window.MathJax.startup && window.MathJax.startup.promise;
    if (ready) ready.then(mark);
  });
  window.addEventListener("resize", mark);
})();

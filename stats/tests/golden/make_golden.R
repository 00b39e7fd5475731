# Writes the golden values that R gives, for the cases in scipy.csv (run make_golden.py first).
#
#     Rscript make_golden.R
#
# wilcox.test: p-values and confidence intervals; coin: exact p-values with ties; p.adjust.

suppressPackageStartupMessages(library(coin))
options(digits = 17, warn = -1)
set.seed(1)

draw <- function(state, count, levels, shift) {
  values <- numeric(count)
  for (k in seq_len(count)) {
    state <- (16807 * state) %% 2147483647
    values[k] <- state %% levels + shift
  }
  list(values = values, state = state)
}

cases <- read.csv("scipy.csv", colClasses = "character")
text <- function(value) if (length(value) != 1 || !is.finite(value)) "" else sprintf("%.17g", value)

out <- data.frame()
rows <- list()
for (index in seq_len(nrow(cases))) {
  case <- cases[index, ]
  n <- as.numeric(case$n); m <- as.numeric(case$m)
  levels <- as.numeric(case$levels); shift <- as.numeric(case$shift)
  first <- draw(as.numeric(case$seed), n, levels, 0)
  second <- draw(first$state, m, levels, shift)
  x <- first$values; y <- second$values
  tied <- length(unique(c(x, y))) < n + m
  constant <- length(unique(c(x, y))) == 1
  row <- list(index = index - 1, p = "", low = "", high = "", p_exact = "", exact_estimate = "",
              exact_low = "", exact_high = "", p_exact_ties = "", p_exact_ties_less = "",
              paired_p = "", paired_p_exact = "", paired_v = "")
  if (!constant) row$p <- text(wilcox.test(x, y, exact = FALSE)$p.value)
  if (n >= 4 && m >= 4 && length(unique(x)) > 1 && length(unique(y)) > 1 && index %% 2 == 1) {
    w <- wilcox.test(x, y, exact = FALSE, conf.int = TRUE, tol.root = 1e-12)
    row$low <- text(w$conf.int[1]); row$high <- text(w$conf.int[2])
  }
  if (!tied && n < 50 && m < 50) {
    w <- wilcox.test(x, y, exact = TRUE, conf.int = TRUE)
    row$p_exact <- text(w$p.value); row$exact_estimate <- text(w$estimate)
    row$exact_low <- text(w$conf.int[1]); row$exact_high <- text(w$conf.int[2])
  }
  if (tied && !constant && n <= 50 && m <= 50) {
    group <- factor(c(rep("a", n), rep("b", m)))
    value <- c(x, y)
    row$p_exact_ties <- text(pvalue(wilcox_test(value ~ group, distribution = "exact")))
    row$p_exact_ties_less <- text(pvalue(
      wilcox_test(value ~ group, distribution = "exact", alternative = "less")))
  }
  k <- min(n, m)
  a <- x[seq_len(k)]; b <- y[seq_len(k)]
  if (k >= 2 && any(a != b)) {
    w <- wilcox.test(a, b, paired = TRUE, exact = FALSE)
    row$paired_p <- text(w$p.value); row$paired_v <- text(w$statistic)
    if (k <= 50) {
      w <- wilcoxsign_test(a ~ b, distribution = "exact", zero.method = "Wilcoxon")
      row$paired_p_exact <- text(pvalue(w))
    }
  }
  rows[[index]] <- row
}
write.csv(do.call(rbind, lapply(rows, as.data.frame)), "r.csv", row.names = FALSE, quote = FALSE)

p <- round(runif(72)^2, 5)
write.csv(data.frame(p = p, holm = p.adjust(p, "holm"), bh = p.adjust(p, "BH"),
                     bonferroni = p.adjust(p, "bonferroni")), "r_adjust.csv", row.names = FALSE)
cat(nrow(cases), "cases with", R.version.string, "and coin", format(packageVersion("coin")), "\n")

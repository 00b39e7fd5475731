# R's part of the benchmark: speed.R METHOD FILE. Loops, since R has no vectorised form.
arguments <- commandArgs(trailingOnly = TRUE)
method <- arguments[1]
size <- file.info(arguments[2])$size / 8
values <- matrix(readBin(arguments[2], "double", size, endian = "little"), nrow = 100)
count <- min(ncol(values), if (method == "exact-ties") 20 else 2000)
test <- switch(method,
  "asymptotic" = function(v) wilcox.test(v[1:50], v[51:100], exact = FALSE)$p.value,
  "exact" = function(v) wilcox.test(v[1:50], v[51:100], exact = TRUE)$p.value,
  "exact-ties" = {
    suppressPackageStartupMessages(library(coin))
    side <- factor(rep(c("buggy", "corrected"), each = 50))
    function(v) as.numeric(pvalue(wilcox_test(v ~ side, distribution = "exact")))
  })
best <- Inf
for (i in 1:5) {
  start <- sum(proc.time()[1:2])
  p <- apply(values[, 1:count], 2, test)
  best <- min(best, sum(proc.time()[1:2]) - start)
}
cat(sprintf("  R        %12.0f tests/s   (the first %d in a loop, R %s%s)\n", count / best, count,
            getRversion(), if (method == "exact-ties") paste(", coin", packageVersion("coin")) else ""))

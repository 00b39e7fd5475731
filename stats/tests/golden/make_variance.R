# Analyses of variance by R's aov, for tests/variance_golden.rs: Rscript make_variance.R > variance.csv
# The values are drawn by a generator that the test repeats.
options(digits = 17)
state <- 1
draw <- function() {
  state <<- (16807 * state) %% 2147483647
  state %% 1000
}
cat("case,a,b,c,repetitions,source,df,squares,f,p\n")
case <- 0
for (shape in list(c(2, 2, 2, 2), c(3, 2, 2, 3), c(4, 3, 2, 2), c(5, 2, 3, 1))) {
  case <- case + 1
  state <- case
  rows <- list()
  for (a in seq_len(shape[1])) for (b in seq_len(shape[2])) for (c in seq_len(shape[3])) {
    for (run in seq_len(shape[4])) {
      value <- draw() + 300 * a + 50 * b * c
      rows[[length(rows) + 1]] <- data.frame(a = a, b = b, c = c, value = value)
    }
  }
  data <- do.call(rbind, rows)
  for (name in c("a", "b", "c")) data[[name]] <- factor(data[[name]])
  table <- summary(aov(value ~ a * b * c, data = data))[[1]]
  for (index in seq_len(nrow(table))) {
    f <- if (shape[4] > 1) table[index, "F value"] else NA
    p <- if (shape[4] > 1) table[index, "Pr(>F)"] else NA
    text <- function(value) if (is.null(value) || is.na(value)) "" else sprintf("%.17g", value)
    cat(sprintf("%d,%d,%d,%d,%d,%s,%d,%s,%s,%s\n", case, shape[1], shape[2], shape[3], shape[4],
                trimws(rownames(table)[index]), as.integer(table[index, "Df"]),
                text(table[index, "Sum Sq"]), text(f), text(p)))
  }
}

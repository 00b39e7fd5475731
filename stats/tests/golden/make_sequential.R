# Boundaries, power and average sample numbers of sequential designs, by rpact (Debian's
# r-cran-rpact 3.3.4), for tests/sequential_golden.rs: Rscript make_sequential.R > sequential.csv
suppressPackageStartupMessages(library(rpact))

designs <- list(
  c(1.0),
  c(0.5, 1.0),
  c(0.2, 0.4, 0.6, 0.8, 1.0),
  c(0.1, 0.35, 0.5, 0.95, 1.0),
  (1:10) / 10
)
cat("spending,sides,alpha,information,bounds,theta,power,share\n")
for (type in c("asOF", "asP")) {
  for (sides in 1:2) {
    for (alpha in c(0.1, 0.05, 0.01, 0.05 / 72)) {
      for (rates in designs) {
        design <- if (length(rates) == 1) {
          getDesignGroupSequential(kMax = 1, alpha = alpha, sided = sides)
        } else {
          getDesignGroupSequential(
            sided = sides, alpha = alpha, informationRates = rates, typeOfDesign = type,
            twoSidedPower = sides == 2
          )
        }
        for (theta in c(0, 0.25, 0.5)) {
          told <- getPowerAndAverageSampleNumber(design, theta = theta, nMax = 100)
          cat(sprintf(
            "%s,%d,%.17g,%s,%s,%g,%.10g,%.10g\n",
            if (type == "asOF") "obrien-fleming" else "pocock", sides, alpha,
            paste(sprintf("%.17g", rates), collapse = ";"),
            paste(sprintf("%.12g", design$criticalValues), collapse = ";"),
            theta, told$calculatedPower, told$averageSampleNumber / 100
          ))
        }
      }
    }
  }
}

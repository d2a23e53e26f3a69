// Weights as a file has them, row by row, read as numbers: for embeddings, and to look for what is no number.
#pragma once

#include "formats.h"

namespace nextword {

/// One row of a matrix (`file.data`) as float32, to the bit as ggml's own reference computes it.
void dequantize_row(const Matrix& file, int64_t row, float* out);

/// Whether every number of a matrix is finite. Of blocks only the scales are looked at: their codes are whole numbers.
bool is_finite(const Matrix& file);

}  // namespace nextword

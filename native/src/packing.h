// Weights of a file, row by row, into packed matrices (formats.h).
#pragma once

#include "formats.h"

namespace nextword {

/// Packs the row groups first <= i < last of a matrix as the file has it (`file.data`) to `out`, which has
/// `file.group_bytes()` for each of them. Rows of floats in a file are `columns` numbers without padding.
void pack_groups(const Matrix& file, int64_t first, int64_t last, uint8_t* out);

}  // namespace nextword

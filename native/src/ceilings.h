// What the machine can do at most, the ceilings of a roofline: the figures that a model's speed is held against.
#pragma once

#include "kernels.h"

namespace nextword {

/// Bytes a second at which `threads` threads together read a buffer of so many bytes; the best of several rounds.
double read_speed(const Kernels& kernels, int threads, int64_t bytes);

/// float32 operations a second of `threads` threads together; a multiplication and an addition are two.
double multiply_speed(const Kernels& kernels, int threads);

}  // namespace nextword

// Sines and cosines in fixed operations: a library's own differ from machine to machine in the last bit.
#pragma once

namespace nextword {

struct CosSin { double cos, sin; };

/// To about 1e-16, for angles up to ten million.
CosSin cos_sin(double angle);

}  // namespace nextword

// The kernels, written once over simd.h and compiled once for each instruction set.
//
// Nothing here allocates, and nothing from the standard library's templates is used: an inline function compiled for a
// wider instruction set could otherwise be chosen by the linker for everybody.
#include "kernels.h"

#include <math.h>

#include "attention.h"
#include "matmul.h"
#include "quantize.h"
#include "quantized.h"
#include "simd.h"
#include "softmax.h"

namespace nextword {
namespace NEXTWORD_ISA {
namespace {

// -- norms and activations --------------------------------------------------------------------------------------------

float normalize(const float* x, int64_t width, const float* weight, const float* bias, float eps, float* out) {
  const int64_t whole = width / WIDTH * WIDTH;
  float mean = 0;
  if (bias) {
    Vector total = zero();
    for (int64_t i = 0; i < whole; i += WIDTH) total = total + load(x + i);
    float rest = reduce_add(total);
    for (int64_t i = whole; i < width; ++i) rest += x[i];
    mean = rest / float(width);
  }
  Vector squares = zero();
  for (int64_t i = 0; i < whole; i += WIDTH) {
    const Vector centred = load(x + i) - broadcast(mean);
    squares = fma(centred, centred, squares);
  }
  float total = reduce_add(squares);
  for (int64_t i = whole; i < width; ++i) total += (x[i] - mean) * (x[i] - mean);
  const float scale = sqrtf(total / float(width) + eps), factor = 1.0f / scale;
  for (int64_t i = 0; i < whole; i += WIDTH) {
    const Vector scaled = (load(x + i) - broadcast(mean)) * broadcast(factor) * load(weight + i);
    store(out + i, bias ? scaled + load(bias + i) : scaled);
  }
  for (int64_t i = whole; i < width; ++i) {
    const float scaled = (x[i] - mean) * factor * weight[i];
    out[i] = bias ? scaled + bias[i] : scaled;
  }
  return scale;
}

inline Vector silu(Vector x) { return x / (broadcast(1.0f) + exp(zero() - x)); }

/// x / 2 (1 + erf(x / sqrt 2)); erf to 1.5e-7 by Abramowitz and Stegun's 7.1.26.
inline Vector gelu(Vector x) {
  const Vector size = max(x, zero() - x), z = size * broadcast(0.70710678118654752f);
  const Vector t = broadcast(1.0f) / fma(broadcast(0.3275911f), z, broadcast(1.0f));
  Vector p = broadcast(1.061405429f);
  p = fma(p, t, broadcast(-1.453152027f));
  p = fma(p, t, broadcast(1.421413741f));
  p = fma(p, t, broadcast(-0.284496736f));
  p = fma(p, t, broadcast(0.254829592f));
  const Vector erf = broadcast(1.0f) - p * t * exp(zero() - z * z);
  return fma(size, erf, x) * broadcast(0.5f);
}

/// x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
inline Vector gelu_tanh(Vector x) {
  const Vector inner = x * fma(x * x, broadcast(0.044715f * 0.79788456080286536f), broadcast(0.79788456080286536f));
  return x - x / (exp(inner + inner) + broadcast(1.0f));
}

void activate(Activation kind, float* x, const float* up, int64_t count) {
  for (int64_t i = 0; i < count; i += WIDTH) {
    Vector v = load(x + i);
    switch (kind) {
      case Activation::GELU: v = gelu(v); break;
      case Activation::GELU_TANH: v = gelu_tanh(v); break;
      case Activation::RELU_SQUARED: v = max(v, zero()), v = v * v; break;
      case Activation::SWIGLU: v = silu(v) * load(up + i); break;
    }
    store(x + i, v);
  }
}

// -- the processor's limits -------------------------------------------------------------------------------------------

float read_loop(const float* values, int64_t count) {
  constexpr int LINES = 64 / WIDTH;
  Vector sums[LINES];
  for (int i = 0; i < LINES; ++i) sums[i] = zero();
  for (int64_t at = 0; at < count; at += 64)
    for (int i = 0; i < LINES; ++i) sums[i] = sums[i] + load(values + at + i * WIDTH);
  float total = 0;
  for (int i = 0; i < LINES; ++i) total += reduce_add(sums[i]);
  return total;
}

constexpr int ACCUMULATORS = 12;  // independent of each other, and few enough for sixteen registers

float fma_loop(int64_t rounds) {
  Vector sums[ACCUMULATORS];
  for (int i = 0; i < ACCUMULATORS; ++i) sums[i] = broadcast(float(i));
  const Vector factor = broadcast(0.999f), term = broadcast(0.001f);
  for (int64_t round = 0; round < rounds; ++round)
    for (int i = 0; i < ACCUMULATORS; ++i) sums[i] = fma(sums[i], factor, term);
  float total = 0;
  for (int i = 0; i < ACCUMULATORS; ++i) total += reduce_add(sums[i]);
  return total;
}

}  // namespace

#define NEXTWORD_STRING_(x) #x
#define NEXTWORD_STRING(x) NEXTWORD_STRING_(x)
extern const Kernels kernels;
const Kernels kernels = {NEXTWORD_STRING(NEXTWORD_ISA),
                         matmul,
                         quantize,
                         matmul_quantized,
                         normalize,
                         activate,
                         store_kv,
                         attend,
                         attention_scores,
                         attention_pattern,
                         attention_values,
                         exp_weights,
                         row_max,
                         read_loop,
                         fma_loop,
                         ACCUMULATORS * WIDTH * 2};

}  // namespace NEXTWORD_ISA
}  // namespace nextword

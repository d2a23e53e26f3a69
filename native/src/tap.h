// The named values of a forward pass, and who may look at them and change them on the way.
#pragma once

#include <cstdint>
#include <string>

namespace nextword {

/// In the order in which a pass computes them; the names are TransformerLens's (`point_name`).
enum class Point {
  EMBED,
  POS_EMBED,
  // of each block
  RESID_PRE,
  LN1_SCALE,
  LN1_NORMALIZED,
  LN1_OUT,
  Q,
  K,
  V,
  ROT_Q,
  ROT_K,
  ATTN_SCORES,
  PATTERN,
  Z,
  ATTN_OUT,
  RESID_MID,
  LN2_SCALE,
  LN2_NORMALIZED,
  LN2_OUT,
  MLP_PRE,
  MLP_PRE_LINEAR,
  MLP_POST,
  MLP_OUT,
  RESID_POST,
  // behind the blocks
  LN_FINAL_SCALE,
  LN_FINAL_NORMALIZED,
  LN_FINAL_OUT,
  LOGITS,
  COUNT
};

/// A point of a block, or of none: then `layer` is 0 before the blocks, the number of layers behind them.
struct Site {
  Point point;
  int64_t layer;

  /// Sites of a pass, counted: a later one has a higher number.
  int64_t index() const { return layer * int64_t(Point::COUNT) + int64_t(point); }
};

/// As the point is called; inside a block, behind `blocks.N.`.
const char* point_name(Point point);
inline bool is_in_block(Point point) { return point >= Point::RESID_PRE && point <= Point::RESID_POST; }
std::string site_name(Site site);

/// Values of one chunk: [rows, width], or [rows, columns, width] where there are columns. What belongs to a row lies
/// together, and rows are `stride` apart.
struct Values {
  float* data;
  int64_t rows, columns, width, stride;
};

/// Called on the thread that asked for the pass, between two of its steps. What it throws ends the pass.
class Tap {
 public:
  virtual ~Tap() = default;
  virtual bool wants(Site site) const = 0;
  /// Looks at the values of a chunk, and may write others in their place; whether it wrote.
  virtual bool see(Site site, int64_t chunk, const Values& values) = 0;
};

}  // namespace nextword

// The forward pass of any GPTConfig: token ids in, logits out, with a cache of keys and values.
#pragma once

#include <cstdlib>
#include <initializer_list>
#include <memory>
#include <mutex>
#include <new>
#include <vector>

#include "cache.h"
#include "config.h"
#include "kernels.h"
#include "large_memory.h"
#include "tap.h"
#include "thread_pool.h"

namespace nextword {

struct Linear {
  Matrix weights;
  std::vector<float> bias;
};

struct Norm {
  std::vector<float> weight, bias;  // a bias makes it a LayerNorm
};

struct Layer {
  Norm ln1, ln2, q_norm, k_norm;  // before attention, before the feed-forward; the latter two may be empty
  Linear q, k, v, out, gate, up, down;
  bool use_rope = false;
  int64_t window = 0;  // newest tokens that a token attends to; 0 is all
};

struct Weights {
  Matrix embedding, positions;  // positions may be empty
  std::vector<Layer> layers;
  Norm final_norm;
  Linear output;
  std::vector<double> rope_frequencies;  // angle a position of each rotating pair; empty: no rope
  double rope_attention_factor = 1.0;
};

/// Memory that begins at a cache line: a vector that crosses one takes twice as long to load.
template <class T>
struct CacheAligned {
  using value_type = T;
  static constexpr std::align_val_t LINE{64};

  CacheAligned() = default;
  template <class U>
  CacheAligned(const CacheAligned<U>&) {}
  T* allocate(size_t count) { return static_cast<T*>(::operator new(count * sizeof(T), LINE)); }
  void deallocate(T* memory, size_t) { ::operator delete(memory, LINE); }
  friend bool operator==(const CacheAligned&, const CacheAligned&) { return true; }
  friend bool operator!=(const CacheAligned&, const CacheAligned&) { return false; }
};
template <class T>
using Aligned = std::vector<T, CacheAligned<T>>;
using Floats = Aligned<float>;

/// Makes room for `count` numbers. What is new is zero, and padding is never written: it stays zero.
template <class T>
void grow(Aligned<T>& values, int64_t count) {
  if (int64_t(values.size()) < count) values.assign(size_t(count), T());
}

inline const float* data_or_null(const std::vector<float>& values) { return values.empty() ? nullptr : values.data(); }

/// Memory for the activations of a batch, quantised.
class QuantizedBuffer {
 public:
  void resize(ActivationFormat format, int64_t tokens, int64_t columns);
  const QuantizedActivations& view() const { return view_; }

 private:
  Aligned<int16_t> codes_;
  Aligned<int8_t> bytes_;
  Floats scales_, sums_;
  Aligned<int32_t> half_sums_;
  QuantizedActivations view_{};
};

/// The new tokens of one sequence; a forward pass takes a batch of them.
struct Chunk {
  const int32_t* ids;
  int64_t count;
  Cache* cache;
  const float* residual = nullptr;  // what the pass's first block reads of each token, instead of their embeddings
};

/// Whose logits a pass computes: of each chunk's last token, of every token, of none.
enum class LogitRows { LAST, ALL, NONE };

class Model {
 public:
  /// Packs every matrix that is multiplied, if `packs`; what `weights` refers to must outlive the model.
  Model(Config config, Weights weights, const Kernels& kernels, int threads, ActivationFormat activations,
        bool packs = true);

  const Config& config() const { return config_; }
  const Kernels& kernels() const { return kernels_; }
  int threads() const { return threads_.count(); }
  /// Whether there is a packed copy of the weights; if there was no memory for one, rows are packed whenever they are
  /// needed.
  bool is_packed() const { return packed_.data() != nullptr; }
  /// No other model of this process has or had it.
  uint64_t id() const { return id_; }

  /// An empty cache for `capacity` tokens of one sequence.
  std::unique_ptr<Cache> new_cache(int64_t capacity, CacheFormat format) const;

  /// Runs each chunk behind its cache. `logits` has a row of vocab_size for each token whose logits are asked for.
  ///
  /// A token's logits are the same to the last bit whatever else is in the batch and however its text was cut into
  /// chunks, and whether a tap looks on or not. Calls from several threads run one after the other. Where no logits are
  /// asked for, the pass ends behind the last value that the tap wants, and no cache grows. Throws
  /// std::invalid_argument where an id is outside the vocabulary, a cache is full, another model's, or given twice;
  /// whatever it throws, no cache has grown.
  ///
  /// A pass may begin at a later block, with rows of the residual stream for every chunk; no cache grows by it, as the
  /// blocks before have no keys and values of these tokens.
  void forward(const std::vector<Chunk>& chunks, LogitRows rows, float* logits, Tap* tap = nullptr,
               int64_t first_layer = 0);

  /// The logits of rows of the residual stream: final norm and head, as at the end of `forward`. The tap sees one
  /// chunk.
  void unembed(const float* residual, int64_t rows, float* logits, Tap* tap = nullptr);

  /// The matrix of this name (`blocks.3.attn.out_proj`), or null.
  const Linear* linear(const std::string& name) const;

  /// out[t] = W x[t], without a bias, as the pass computes it.
  void apply(const Linear& linear, const float* x, int64_t rows, float* out);

 private:
  struct BatchToken {
    Cache* cache;
    int64_t position;
  };
  struct Rows { int64_t first, count; };
  /// What products read: as it is, and quantised for the matrices that take it so.
  struct Input {
    const float* x;
    int64_t stride;
    const QuantizedBuffer& quantized;
  };
  struct MatMul {
    const Linear* linear;
    float* out;
    int64_t out_stride;
  };

  void pack(bool has_memory);
  void check(const std::vector<Chunk>& chunks) const;
  void begin(const std::vector<Chunk>& chunks);
  void embed(const std::vector<Chunk>& chunks);
  void attention(int64_t layer);
  void feed_forward(int64_t layer);
  void project_into_stream(const Linear& linear, const Input& input, int64_t tokens, Site result);
  void final_norm_and_head(int64_t rows, float* logits);
  bool takes_quantized(const Linear& linear) const;
  void normalize(const Norm& norm, const float* x, int64_t count, Site scale,
                 std::initializer_list<const Linear*> readers);
  void quantize_rows(const float* x, int64_t stride, int64_t count, const QuantizedBuffer& out);
  void multiply(const Linear& linear, int64_t first, int64_t last, const Input& input, int64_t tokens,
                const float* addend, float* out, int64_t out_stride, int thread);
  void matmul(const std::vector<MatMul>& matmuls, const Input& input, int64_t tokens, const float* addend);
  void apply_rope(float* head, int64_t position) const;
  void extend_rope_tables(int64_t positions);
  int64_t tokens_per_item(int64_t tokens) const;
  template <class Work>
  void for_each_token(int64_t tokens, const Work& work);

  // Where a tap looks on.
  void look_with(Tap* tap, bool has_logits);
  bool is_wanted(Site first, Point last) const;
  bool is_wanted_from(Site site) const { return !tap_ || has_logits_ || site.index() <= last_wanted_; }
  bool see(Site site, int64_t chunk, float* x, int64_t stride, int64_t columns, int64_t width);
  void see_all(Site site, float* x, int64_t stride, int64_t columns, int64_t width);
  void see_norm(const Norm& norm, const float* x, Site scale);
  void see_attention(int64_t layer, float scale);

  const uint64_t id_;
  Config config_;
  Weights weights_;
  const Kernels& kernels_;
  const ActivationFormat activations_;
  ThreadPool threads_;
  LargeMemory packed_;
  std::mutex mutex_;

  // Activations of the batch's tokens; rows are `row_stride` apart, padded with zeros. x is the residual stream, h its
  // norm, z what the heads read, before the output projection.
  int64_t width_, q_width_, kv_width_, ff_width_;
  std::vector<BatchToken> batch_;
  std::vector<Rows> chunks_;  // the rows of each chunk
  bool is_decode_ = false;    // each sequence has one new token
  Floats x_, h_, q_, k_, v_, z_, gate_, up_;
  QuantizedBuffer quantized_, quantized_ff_;  // h or z; what `down` reads
  std::vector<Floats> scratch_;               // one a thread
  std::vector<Aligned<uint8_t>> row_groups_;  // where there is no packed copy: one row group a thread
  std::vector<float> cos_, sin_;              // rope tables: [position][pair]

  // Of the pass that is under way.
  Tap* tap_ = nullptr;
  bool has_logits_ = true;
  int64_t last_wanted_ = -1;        // index of a site
  Floats normalized_, sublayer_;    // before a norm's weight; what attention or feed-forward adds
  std::vector<float> norm_scales_;  // a row's divisor
};

template <class Work>
void Model::for_each_token(int64_t tokens, const Work& work) {
  const int64_t step = tokens_per_item(tokens);
  threads_.parallel_for((tokens + step - 1) / step, [&](int64_t item, int thread) {
    for (int64_t t = item * step; t < std::min(tokens, (item + 1) * step); ++t) work(t, thread);
  });
}

}  // namespace nextword

// A tap that Python has written.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_set>
#include <utility>
#include <vector>

#include "config.h"
#include "tap.h"

namespace nextword {

namespace nb = nanobind;

/// A tap in Python: `names`, and a call that takes a name, an array of its own and the number of the chunk.
class PyTap : public Tap {
 public:
  PyTap(nb::object tap, const Config& config) : tap_(std::move(tap)) {
    std::unordered_set<std::string> names;
    for (nb::handle name : tap_.attr("names")) names.insert(nb::cast<std::string>(name));
    wanted_.resize(size_t(Site{Point::LOGITS, config.num_layers}.index()) + 1);
    for (int point = 0; point < int(Point::COUNT); ++point)
      for (int64_t layer = 0; layer <= config.num_layers; ++layer) {
        const Site site{Point(point), layer};
        if (size_t(site.index()) < wanted_.size()) wanted_[size_t(site.index())] = names.count(site_name(site)) > 0;
      }
  }

  bool wants(Site site) const override { return wanted_[size_t(site.index())]; }

  bool see(Site site, int64_t chunk, const Values& values) override {
    nb::gil_scoped_acquire acquire;
    const int64_t row = std::max<int64_t>(1, values.columns) * values.width;
    auto copy = std::make_unique<float[]>(size_t(values.rows * row));
    for (int64_t i = 0; i < values.rows; ++i) std::copy_n(values.data + i * values.stride, row, copy.get() + i * row);
    std::vector<size_t> shape{size_t(values.rows)};
    if (values.columns) shape.push_back(size_t(values.columns));
    shape.push_back(size_t(values.width));
    float* data = copy.release();
    nb::capsule owner(data, [](void* memory) noexcept { delete[] static_cast<float*>(memory); });
    const std::string name = site_name(site);
    const nb::object returned =
        tap_(name, nb::cast(nb::ndarray<nb::numpy, float>(data, shape.size(), shape.data(), owner)), chunk);
    if (returned.is_none()) return false;
    nb::ndarray<const float, nb::c_contig, nb::device::cpu> changed;
    bool fits = nb::try_cast(returned, changed) && changed.ndim() == shape.size();
    for (size_t i = 0; fits && i < shape.size(); ++i) fits = changed.shape(i) == shape[i];
    if (!fits)
      throw nb::value_error(("what the tap put in the place of " + name + " is no array of its shape").c_str());
    bool differs = false;
    for (int64_t i = 0; i < values.rows; ++i) {
      float* to = values.data + i * values.stride;
      const float* from = changed.data() + i * row;
      if (std::memcmp(to, from, size_t(row) * sizeof(float)) == 0) continue;
      std::copy_n(from, row, to);
      differs = true;
    }
    return differs;
  }

 private:
  nb::object tap_;
  std::vector<bool> wanted_;  // by site
};

}  // namespace nextword

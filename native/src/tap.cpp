#include "tap.h"

namespace nextword {

const char* point_name(Point point) {
  switch (point) {
    case Point::EMBED: return "hook_embed";
    case Point::POS_EMBED: return "hook_pos_embed";
    case Point::RESID_PRE: return "hook_resid_pre";
    case Point::LN1_SCALE: return "ln1.hook_scale";
    case Point::LN1_NORMALIZED: return "ln1.hook_normalized";
    case Point::LN1_OUT: return "ln1.hook_out";
    case Point::Q: return "attn.hook_q";
    case Point::K: return "attn.hook_k";
    case Point::V: return "attn.hook_v";
    case Point::ROT_Q: return "attn.hook_rot_q";
    case Point::ROT_K: return "attn.hook_rot_k";
    case Point::ATTN_SCORES: return "attn.hook_attn_scores";
    case Point::PATTERN: return "attn.hook_pattern";
    case Point::Z: return "attn.hook_z";
    case Point::ATTN_OUT: return "hook_attn_out";
    case Point::RESID_MID: return "hook_resid_mid";
    case Point::LN2_SCALE: return "ln2.hook_scale";
    case Point::LN2_NORMALIZED: return "ln2.hook_normalized";
    case Point::LN2_OUT: return "ln2.hook_out";
    case Point::MLP_PRE: return "mlp.hook_pre";
    case Point::MLP_PRE_LINEAR: return "mlp.hook_pre_linear";
    case Point::MLP_POST: return "mlp.hook_post";
    case Point::MLP_OUT: return "hook_mlp_out";
    case Point::RESID_POST: return "hook_resid_post";
    case Point::LN_FINAL_SCALE: return "ln_final.hook_scale";
    case Point::LN_FINAL_NORMALIZED: return "ln_final.hook_normalized";
    case Point::LN_FINAL_OUT: return "ln_final.hook_out";
    case Point::LOGITS: return "logits";
    case Point::COUNT: break;
  }
  return "";
}

std::string site_name(Site site) {
  return (is_in_block(site.point) ? "blocks." + std::to_string(site.layer) + "." : "") + point_name(site.point);
}

}  // namespace nextword

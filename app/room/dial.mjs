// What a call means where the finding is rarer or commoner: predictive values from sensitivity and specificity. Pure.
//
// Bounds: those of the two shares are carried over to the logarithm of the likelihood ratio by Donner and Zou's method
// (2012, Closed-form confidence intervals for functions of the normal mean and standard deviation), which takes them as
// they are, skewed or not; the prevalence is taken as known.

const logit = (share) => Math.log(share) - Math.log(1 - share);
const logistic = (value) => 1 / (1 + Math.exp(-value));

// The difference of two logarithms with its bounds; each is {value, low, high}.
function difference(one, other) {
  const value = one.value - other.value;
  return {
    value,
    low: value - Math.hypot(one.value - one.low, other.high - other.value),
    high: value + Math.hypot(one.high - one.value, other.value - other.low),
  };
}

const logs = ({ value, low, high }) => ({ value: Math.log(value), low: Math.log(low), high: Math.log(high) });
const rest = ({ value, low, high }) => ({ value: 1 - value, low: high === null ? null : 1 - high, high: low === null ? null : 1 - low });
const bounded = (share) => share.low !== null && share.high !== null;

// Of the images with (`called`) or without the finding's call, how many are rightly so: {value, low, high}, bounds null
// where the shares have none; null where a call of that kind never happens.
function predictive(right, wrong, odds) {
  if (right.value === 0 && wrong.value === 0) return null;
  const value = wrong.value === 0 ? 1 : right.value === 0 ? 0 : logistic(odds + Math.log(right.value) - Math.log(wrong.value));
  if (!bounded(right) || !bounded(wrong)) return { value, low: null, high: null };
  if (right.value > 0 && wrong.value > 0) {
    const { low, high } = difference(logs(right), logs(wrong));
    return { value, low: logistic(odds + low), high: logistic(odds + high) };
  }
  // One of both was never seen: its bounds alone speak, and the result may be wider than it need be.
  const worst = right.low === 0 ? 0 : logistic(odds + Math.log(right.low) - Math.log(wrong.high));
  const best = wrong.low === 0 ? 1 : logistic(odds + Math.log(right.high) - Math.log(wrong.low));
  return { value, low: worst, high: best };
}

// PPV and NPV at a prevalence between 0 and 1, both excluded.
export function atPrevalence(sensitivity, specificity, prevalence) {
  const odds = logit(prevalence);
  return {
    ppv: predictive(sensitivity, rest(specificity), odds),
    npv: predictive(specificity, rest(sensitivity), -odds),
  };
}

// "93 % (85 to 99 %)"; never 0 % or 100 % of what was only counted in a sample.
export function percent({ value, low, high }) {
  const one = (share) => {
    const digits = share < 0.1 || share > 0.9 ? 1 : 0;
    const [least, text] = [10 ** -digits, (100 * share).toFixed(digits)];
    if (Number(text) <= 0) return `< ${least}`;
    return Number(text) >= 100 ? `> ${100 - least}` : text;
  };
  return low === null ? `${one(value)} %` : `${one(value)} % (${one(low)} to ${one(high)} %)`;
}

// A thousand images at this prevalence, sorted: {called, right, passed, missed}; whole numbers that add up.
export function thousand(sensitivity, specificity, prevalence) {
  const ill = Math.round(1000 * prevalence);
  const right = Math.round(ill * sensitivity.value);
  const alarms = Math.round((1000 - ill) * (1 - specificity.value));
  return { called: right + alarms, right, passed: 1000 - right - alarms, missed: ill - right };
}

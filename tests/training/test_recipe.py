import pytest

from training.recipe import RECIPES, RecipeError, find_family, load_recipe

NAMES = sorted(path.stem for path in RECIPES.glob("*.toml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_is_valid_and_bears_its_file_name(name):
    recipe = load_recipe(name)
    assert recipe.name == name
    assert issubclass(recipe.family_class, find_family(recipe.family))


def test_any_hyper_parameter_can_be_overridden():
    model = ["--model.width", "64", "--model.heads=2", "--model.kv_heads=1"]
    recipe = load_recipe("shakespeare-gpt", [*model, "--train.steps", "5", "--data.batch_size=3"])
    assert (recipe.model_config_.width, recipe.train.steps, recipe.data.batch_size) == (64, 5, 3)
    assert load_recipe("shakespeare-gpt", ["--optimizer.betas", "[0.5, 0.6]"]).optimizer.betas == (0.5, 0.6)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["--model.widht", "64"], r"model\.widht: unknown; known here: .*width"),
        (["--train.step", "64"], r"train\.step: unknown; known here: .*steps"),
        (["--trian.steps", "64"], r"trian: unknown"),
        (["--train.steps", "many"], r"train\.steps: .*integer.* found 'many'"),
        (["--train.steps", "0"], r"train\.steps: .*greater"),
        (["--train.steps"], r"--train\.steps: expected a value"),
        (["train.steps", "4"], r"train\.steps: expected an override such as"),
        (["--name.first", "4"], r"name is a value"),
        (["--family", "gtp"], r"family: found 'gtp', expected one of .*gpt"),
        (["--model.width", "100"], r"model: .*multiple"),
    ],
)
def test_what_cannot_be_used_is_refused_by_name(overrides, message):
    with pytest.raises(RecipeError, match=message):
        load_recipe("shakespeare-gpt", overrides)


def test_an_unknown_recipe_is_refused_with_the_known_ones():
    with pytest.raises(RecipeError, match="shakespeare-gpt"):
        load_recipe("shakespear-gpt")

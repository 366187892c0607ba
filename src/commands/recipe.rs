//! `ibuild recipe`: whether the recipe is right, and what it says with everything filled in.

use std::process::ExitCode;

use ibuild::stages::recipe::Recipe;
use ibuild::{Result, Settings, refuse_special_files};

use crate::cli::{Global, JsonArgs, RecipeCommand};
use crate::invocation::{load_recipe, recipe_dir};
use crate::terminal::{note, print, print_json};
use crate::ui::counted;

pub fn run(global: &Global, command: &RecipeCommand) -> Result<ExitCode> {
    let dir = recipe_dir()?;
    let recipe = load_recipe(global, &dir, &[])?;
    recipe.notices.iter().for_each(|notice| note(global, &notice.to_string()));
    match command {
        RecipeCommand::Check => {
            // What every other command would refuse.
            Settings::read(&dir)?;
            refuse_special_files(&recipe, &dir)?;
            print(&format!("ok: {}\n", summary(&recipe)))?;
        }
        RecipeCommand::Show(JsonArgs { json: false }) => print(&recipe.show().to_string())?,
        RecipeCommand::Show(JsonArgs { json: true }) => print_json(serde_json::to_value(&recipe)?)?,
    }
    Ok(ExitCode::SUCCESS)
}

fn summary(recipe: &Recipe) -> String {
    let stages = recipe.rootfses.values().map(|rootfs| rootfs.steps.len()).sum();
    let rootfses = counted(recipe.rootfses.len(), "rootfs", "rootfses");
    let stages = counted(stages, "stage", "stages");
    let images = counted(recipe.products().count(), "image", "images");
    format!("{rootfses}, {stages}, {images}")
}

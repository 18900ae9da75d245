{{ config(tags=['once_a_day']) }}

with

stories as (
    select * from {{ ref('news_stories') }}
    where published_at is not null and uncounted_reason is null
),

categories as (
    select distinct category,
    from stories
),

hours as (
    select published_hour_manila,
    from unnest(generate_array(0, 23)) as published_hour_manila
),

counted_stories as (
    select
        category,
        published_hour_manila,
        count(*) as story_count,
    from stories
    group by category, published_hour_manila
),

final as (
    select
        categories.category,
        hours.published_hour_manila,
        coalesce(counted_stories.story_count, 0) as story_count,
        coalesce(counted_stories.story_count, 0)
        / sum(counted_stories.story_count) over (
            partition by categories.category
        ) as category_share,
    from categories
    cross join hours
    left join counted_stories
        on
            categories.category = counted_stories.category
            and hours.published_hour_manila = counted_stories.published_hour_manila
)

select * from final
